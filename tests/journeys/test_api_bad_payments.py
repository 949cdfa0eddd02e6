"""Payments for what is not owed, and callbacks that are forged, stale, replayed or about something else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from doorbuster.lab.payment_simulator.signatures import mac
from doorbuster.platform.settings.secrets import load_secrets
from journeys.api_shop import YUAN, ApiShop, api_shop, empty_database, eventually, problem

SIGNATURE_INVALID = (400, "webhook-signature-invalid")
STALE = (400, "webhook-stale")
MISMATCH = (422, "payment-mismatch")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    folder = tmp_path_factory.mktemp("bad-payments")
    if request.param == "sqlite":
        with api_shop(folder, with_payments=True) as shop:
            yield shop
    else:
        server = request.getfixturevalue("postgres")
        with empty_database(server) as url, api_shop(folder, database_url=url, with_payments=True) as shop:
            yield shop


@pytest.fixture
def order(shop: ApiShop) -> Any:
    """An order that waits for its payment, and nothing else under way."""
    order = shop.order("owner")
    shop.settle()
    return order


@pytest.fixture
def payment(shop: ApiShop) -> Any:
    payment = shop.payment(shop.order("owner"))
    shop.settle()
    return payment


def captured(payment: Any, **changes: Any) -> bytes:
    """What the provider would say of a payment that was made, but for `changes`."""
    data = {
        "payment_id": payment["id"],
        "order_id": payment["order_id"],
        "reference": payment["checkout_url"].rpartition("/")[2],
        "amount": payment["amount"]["amount"],
        "currency": payment["amount"]["currency"],
        "refund_id": None,
        **changes,
    }
    event = {"id": "evt_forged", "type": "payment.captured", "created": time.time_ns() // 1_000_000, "data": data}
    return msgspec.json.encode(event)


def test_a_payment_of_another_amount_currency_or_order(shop: ApiShop, order: Any):
    total = order["total"]["amount"]
    path = f"/v1/orders/{order['id']}/payments"
    with shop.unchanged():
        for amount, currency in ((total - 1, YUAN), (total + 1, YUAN), (0, YUAN), (total, "USD"), (total * 100, "JPY")):
            body = {"amount": {"amount": amount, "currency": currency}}
            assert problem(shop.ask("POST", path, "owner", body, shop.key())) == MISMATCH
        for stranger in ("other", "merchant", "courier"):
            response = shop.ask("POST", path, stranger, {"amount": order["total"]}, shop.key())
            assert problem(response) == (404, "order-not-found"), stranger
    assert shop.status_of(order) == "pending_payment"


def test_a_key_used_again_gets_the_same_payment_or_is_refused(shop: ApiShop, order: Any):
    path, body = f"/v1/orders/{order['id']}/payments", {"amount": order["total"]}
    first = shop.ask("POST", path, "owner", body, "pay")
    shop.settle()
    with shop.unchanged():
        again = shop.ask("POST", path, "owner", body, "pay")
        assert (again.status_code, again.content) == (201, first.content)
        second = shop.ask("POST", path, "owner", body, "another")
        assert problem(second) == (409, "payment-open")
        other = {"amount": {**order["total"], "amount": 1}}
        assert problem(shop.ask("POST", path, "owner", other, "pay"))[0] == 422


def test_callbacks_without_a_good_signature(shop: ApiShop, payment: Any):
    body = captured(payment)
    good = signature(shop, body)
    at, _, signed = good.partition(",")
    forged = {
        "none": "",
        "another body's": signature(shop, body + b" "),
        "another secret's": signature(shop, body, secret=b"guessed"),
        "an empty secret's": signature(shop, body, secret=b""),
        "another time's": f"t={int(time.time()) + 1},{signed}",
        "without a time": signed,
        "without a signature": at,
        "an empty signature": f"{at},v1=",
        "another scheme": good.replace("v1=", "v0="),
        "upper case": good.upper(),
        "cut": good[:-1],
        "one sign changed": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "too many": f"{at}{',v1=' + '0' * 64}" + (",v1=" + "0" * 64) * 20,
        "a huge time": good.replace(at, "t=" + "9" * 400),
        "a time below zero": good.replace(at, "t=-1"),
        "not ASCII": "t=１,v1=" + "0" * 64,
    }
    with shop.unchanged():
        for name, value in forged.items():
            sent: Any = value.encode()
            response = shop.call_back(body, signature=sent)
            assert problem(response) == SIGNATURE_INVALID, name
        no_header = shop.ask("POST", "/v1/payments/webhooks/simulator", body=body)
        assert problem(no_header) == SIGNATURE_INVALID
        doubled = [("Doorbuster-Signature", good), ("Doorbuster-Signature", "t=1,v1=00")]
        response = shop.client.post("/v1/payments/webhooks/simulator", content=body, headers=doubled)
        assert problem(response) == (400, "repeated-header")
    assert shop.status_of({"id": payment["order_id"]}) == "pending_payment"


def test_callbacks_of_another_time(shop: ApiShop, payment: Any):
    with shop.unchanged():
        for offset_s in (-310, -86_400, 310, 86_400, 10**9):
            assert problem(shop.call_back(captured(payment), offset_s=offset_s)) == STALE, offset_s


def test_signed_callbacks_that_the_provider_does_not_stand_by(shop: ApiShop, payment: Any):
    """Even with a stolen secret nothing can be captured that the provider itself does not know."""
    others = shop.payment(shop.order("other"), "other")
    shop.settle()
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"amount": 1},
        {"currency": "USD"},
        {"order_id": others["order_id"]},
        {"reference": "pay_of_somebody_else"},
        {"payment_id": others["id"]},
        {"refund_id": "1"},
    )
    with shop.unchanged():
        for change in changes:
            assert problem(shop.call_back(captured(payment, **change))) == MISMATCH, change
        for nobodys in ("0", "1", str(2**63 - 1)):
            response = shop.call_back(captured(payment, payment_id=nobodys))
            assert problem(response) == (404, "payment-not-found")
    assert shop.get(f"/v1/payments/{payment['id']}", "owner")["status"] == "pending"


def test_signed_callbacks_that_cannot_be_read(shop: ApiShop, payment: Any):
    whole = captured(payment)
    bodies = {
        "empty": b"",
        "no JSON": b"captured",
        "a list": b"[]",
        "not UTF-8": b'{"id":"\xff"}',
        "nested": b"[" * 8_000,
        "nested objects": b'{"a":' * 3_000,
        "without data": b'{"id":"e","type":"payment.captured","created":1}',
        "an amount of text": captured(payment, amount="990"),
        "a fraction": captured(payment, amount=990.5),
        "a huge amount": captured(payment, amount=2**63),
        "no id": captured(payment, payment_id=""),
        "an id of letters": captured(payment, payment_id="abc"),
        "an id of a line": captured(payment, payment_id="1\n"),
        "NUL": whole.replace(b"evt_forged", b"evt\\u0000"),
        "a lone surrogate": whole.replace(b"evt_forged", b"evt\\ud800"),
        "a long id": whole.replace(b"evt_forged", b"e" * 65),
    }
    with shop.unchanged():
        for name, body in bodies.items():
            status, slug = problem(shop.call_back(body))
            assert (status, slug) in ((400, "webhook-invalid"), (400, "invalid-id"), MISMATCH), name
        too_large = shop.call_back(whole.ljust(16 * 1024 + 1))
        assert problem(too_large) == (413, "body-too-large")
        for provider in ("nobody", "%00", "..", "simulator2", "x" * 5000):
            assert problem(shop.call_back(whole, provider=provider))[0] == 404, provider


def test_a_callback_that_is_replayed_changes_nothing(shop: ApiShop, payment: Any):
    shop.pay(payment)
    order = {"id": payment["order_id"]}
    eventually(lambda: shop.status_of(order) == "paid", "the order is paid")
    shop.settle()
    genuine = captured(payment).replace(b"evt_forged", b"evt_again")
    assert shop.call_back(genuine).json() == {"received": True}
    shop.settle()

    with shop.unchanged():
        for _ in range(3):
            assert shop.call_back(genuine).json() == {"received": True}
    assert [move["to"] for move in shop.get(f"/v1/orders/{order['id']}", "owner")["history"]] == [
        "pending_payment",
        "paid",
    ]


def test_a_second_payment_of_what_is_paid(shop: ApiShop, payment: Any):
    shop.pay(payment)
    order = {"id": payment["order_id"]}
    eventually(lambda: shop.status_of(order) == "paid", "the order is paid")
    shop.settle()
    with shop.unchanged():
        response = shop.ask(
            "POST", f"/v1/orders/{order['id']}/payments", "owner", {"amount": payment["amount"]}, shop.key()
        )
        assert problem(response) == (409, "order-not-payable")


def signature(shop: ApiShop, body: bytes, secret: bytes | None = None) -> str:
    at_s = int(time.time())
    key = load_secrets(shop.settings).webhook_secrets[0].encode() if secret is None else secret
    return f"t={at_s},v1={mac(key, at_s, body)}"
