"""The face: whose payments may be seen, and what a callback is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contexts.payments.paying_shop import CUSTOMER, SECRET, Shop, small_api
from doorbuster.contexts.payments.http import WEBHOOK_BYTES_MAX
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.principal import Principal
from doorbuster.lab.payment_simulator.signatures import sign

WEBHOOKS = "/v1/payments/webhooks/simulator"


class Face:
    """The routes, asked by whoever `principal` is."""

    def __init__(self, shop: Shop) -> None:
        self.principal: Principal | None = None
        self._api = small_api(shop.service)
        transport = httpx.ASGITransport(self._as_principal, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://shop", verify=False)

    async def _as_principal(self, scope: Any, receive: Any, send: Any) -> None:
        await self._api({**scope, "principal": self.principal}, receive, send)

    async def get(self, path: str, principal: Principal | None) -> httpx.Response:
        self.principal = principal
        return await self.client.get(path)

    async def call_back(self, body: bytes, signature: str | None, path: str = WEBHOOKS) -> httpx.Response:
        headers = {} if signature is None else {"Doorbuster-Signature": signature}
        return await self.client.post(path, content=body, headers=headers)


@pytest.fixture
async def face(shop: Shop) -> AsyncIterator[Face]:
    face = Face(shop)
    yield face
    await face.client.aclose()


def signed(shop: Shop, body: bytes, offset_s: int = 0) -> str:
    return sign((SECRET.encode(),), shop.clock.now_ms() // 1000 + offset_s, body)


def slug(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["slug"]


async def test_a_payment_is_shown_to_its_payer_and_to_support(shop: Shop, face: Face):
    payment = await shop.open()
    for principal in (Principal(CUSTOMER, "customer"), Principal(1, "support"), Principal(2, "admin")):
        response = await face.get(f"/v1/payments/{payment.id}", principal)
        assert response.status_code == 200
        assert response.json() == {
            "id": str(payment.id),
            "order_id": str(payment.order_id),
            "status": "pending",
            "amount": {"amount": 1990, "currency": "CNY"},
            "checkout_url": payment.checkout_url,
            "created_at": rfc3339(shop.clock.now_ms()),
            "declined": None,
        }


async def test_nobody_else_learns_that_it_exists(shop: Shop, face: Face):
    payment = await shop.open()
    strangers = [
        Principal(CUSTOMER + 1, "customer"),
        Principal(3, "merchant"),
        Principal(4, "courier"),
        Principal(0, "customer"),
    ]
    for stranger in strangers:
        for payment_id in (payment.id, 1):
            response = await face.get(f"/v1/payments/{payment_id}", stranger)
            assert slug(response) == (404, "payment-not-found")
            assert str(payment.order_id) not in response.text
    assert (await face.get(f"/v1/payments/{payment.id}", None)).status_code == 401


async def test_what_is_no_id_is_refused(face: Face):
    for text in ("x", "-1", "1" * 20, "9223372036854775808", "1.0"):
        response = await face.get(f"/v1/payments/{text}", Principal(1, "admin"))
        assert slug(response) == (400, "invalid-id")


async def test_a_callback_is_taken_and_answered(shop: Shop, face: Face):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    body = await shop.callback(payment)
    for _ in range(2):
        response = await face.call_back(body, signed(shop, body))
        assert (response.status_code, response.json()) == (200, {"received": True})
    assert await shop.status(payment) == "captured"


async def test_refused_callbacks_say_why_and_write_nothing(shop: Shop, face: Face):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    body = await shop.callback(payment)
    dear = await shop.callback(payment, amount=1991)
    unknown = await shop.callback(payment, payment_id="1")
    huge = body + b" " * WEBHOOK_BYTES_MAX
    before = await shop.everything()
    answers = [
        slug(await face.call_back(body, None)),
        slug(await face.call_back(body, "t=1,v1=00")),
        slug(await face.call_back(dear, signed(shop, body))),
        slug(await face.call_back(body, signed(shop, body, -301))),
        slug(await face.call_back(body, signed(shop, body, 302))),
        slug(await face.call_back(b"{}", signed(shop, b"{}"))),
        slug(await face.call_back(dear, signed(shop, dear))),
        slug(await face.call_back(unknown, signed(shop, unknown))),
        slug(await face.call_back(body, signed(shop, body), "/v1/payments/webhooks/another")),
        slug(await face.call_back(huge, signed(shop, huge))),
    ]
    assert answers == [
        (400, "webhook-signature-invalid"),
        (400, "webhook-signature-invalid"),
        (400, "webhook-signature-invalid"),
        (400, "webhook-stale"),
        (400, "webhook-stale"),
        (400, "webhook-invalid"),
        (422, "payment-mismatch"),
        (404, "payment-not-found"),
        (404, "provider-not-found"),
        (413, "body-too-large"),
    ]
    assert await shop.everything() == before


async def test_a_callback_that_cannot_be_checked_is_sent_back_with_a_time(shop: Shop, face: Face):
    payment = await shop.open()
    await shop.desk.misbehave(down=True)
    body = await shop.callback(payment)
    response = await face.call_back(body, signed(shop, body))
    assert slug(response) == (503, "unavailable")
    assert response.headers["retry-after"] == "1"
