"""A request's id and trace, from the head of an HTTP request to the events of other contexts, read as rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from doorbuster.kernel.cause import Cause, cause_in
from journeys.api_shop import ApiShop, eventually, good, run, shop_on

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with shop_on(request, tmp_path_factory.mktemp("causes")) as shop:
        yield shop


def told(shop: ApiShop, context: str, kind: str) -> list[tuple[dict[str, Any], Cause | None]]:
    """Events of that type: what they say, and their causes."""
    sql = f"SELECT payload, cause FROM {{}}outbox WHERE type = '{kind}' ORDER BY seq"
    if shop.settings.database.url:
        rows = run(_ask(shop.settings.database.url, sql.format(f"{context}.")))
    else:
        with sqlite3.connect(f"file:{shop.folder / context}.sqlite?mode=ro", uri=True) as database:
            rows = database.execute(sql.format("")).fetchall()
    return [(json.loads(payload), cause_in(cause)) for payload, cause in rows]


async def _ask(url: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


def cause_of(shop: ApiShop, context: str, kind: str, order_id: str) -> Cause | None:
    """Of the only event of that type about the order. Waits until it was told."""
    found: list[Cause | None] = []

    def there() -> bool:
        found[:] = [
            cause
            for said, cause in told(shop, context, kind)
            if str(said.get("order_id") or said["claim"]["order_id"]) == order_id
        ]
        return bool(found)

    eventually(there, f"{kind} of {order_id}")
    (cause,) = found
    return cause


def headed(request_id: str, traceparent: str = CALLER) -> dict[str, str]:
    return {"X-Request-Id": request_id, "traceparent": traceparent}


def claim(shop: ApiShop, headers: dict[str, str]) -> str:
    """An order's id."""
    path = f"/v1/sales/{shop.sale()['id']}/claims"
    answer = shop.ask("POST", path, "owner", {"quantity": 1}, key=shop.key(), headers=headers)
    order_id: str = good(answer, 201)["order_id"]
    return order_id


def test_a_claim_and_its_payment_are_one_trace_through_three_contexts(shop: ApiShop):
    order_id = claim(shop, headed("claim-1"))
    accepted = cause_of(shop, "flash_sale", "flash_sale.claim-accepted", order_id)
    assert accepted is not None
    assert (accepted.request_id, accepted.trace_id) == ("claim-1", TRACE_ID)
    assert accepted.traceparent[36:52] != CALLER[36:52], "a span of our own"

    # The provider's callback, a request of its own, brings the capture; the payer's trace goes on.
    order = shop.get(f"/v1/orders/{order_id}", "owner")
    path, body = f"/v1/orders/{order_id}/payments", {"amount": order["total"]}
    payment = good(shop.ask("POST", path, "owner", body, key=shop.key(), headers=headed("pay-1")), 201)
    assert payment["status"] == "pending"
    shop.pay(payment)
    captured = cause_of(shop, "payments", "payments.captured", order_id)
    paid = cause_of(shop, "orders", "orders.paid", order_id)
    assert captured is not None
    assert (captured.request_id, captured.trace_id) == ("pay-1", TRACE_ID)
    assert paid == captured, "what a listener tells has the cause of what it heard"

    # Back again: the request to cancel, through orders to the sale, which listens.
    good(shop.ask("POST", f"/v1/orders/{order_id}/cancel", "owner", headers=headed("cancel-1")), 200)
    cancelled = cause_of(shop, "orders", "orders.cancelled", order_id)
    released = cause_of(shop, "flash_sale", "flash_sale.units-released", order_id)
    assert cancelled is not None
    assert (cancelled.request_id, cancelled.trace_id) == ("cancel-1", TRACE_ID)
    assert released == cancelled


@pytest.mark.parametrize("headers", [{}, {"traceparent": CALLER.upper()}, {"traceparent": "00-" + "0" * 52}])
def test_a_request_without_a_good_trace_begins_one(shop: ApiShop, headers: dict[str, str]):
    path = f"/v1/sales/{shop.sale()['id']}/claims"
    answers = [shop.ask("POST", path, "owner", {"quantity": 1}, key=shop.key(), headers=headers) for _ in range(2)]
    causes = [
        cause_of(shop, "flash_sale", "flash_sale.claim-accepted", good(answer, 201)["order_id"]) for answer in answers
    ]
    # Its id is the one that the shopper was told.
    assert [cause and cause.request_id for cause in causes] == [answer.headers["x-request-id"] for answer in answers]
    assert len({cause.trace_id for cause in causes if cause} - {TRACE_ID}) == 2


def test_what_the_clock_does_has_no_cause(shop: ApiShop):
    path = f"/v1/sales/{shop.sale(pay_within_s=1)['id']}/claims"
    answer = shop.ask("POST", path, "owner", {"quantity": 1}, key=shop.key(), headers=headed("too-late"))
    order_id = good(answer, 201)["order_id"]
    assert cause_of(shop, "orders", "orders.cancelled", order_id) is None
