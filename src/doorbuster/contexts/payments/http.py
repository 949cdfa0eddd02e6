"""Payments over HTTP. Opening one belongs to its order: POST /v1/orders/{id}/payments."""

from __future__ import annotations

from typing import Any

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from doorbuster.contexts.payments.service import PaymentsService
from doorbuster.contexts.payments.signatures import HEADER
from doorbuster.contracts.payments import Payment, PaymentStatus
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    MoneyBody,
    TimeText,
    allow,
    principal_of,
    public,
)
from doorbuster.platform.http.problems import BodyTooLarge

WEBHOOK_BYTES_MAX = 16 * 1024


class PaymentView(Struct, frozen=True):
    """The payer pays at `checkout_url` while the status is `pending`, or `failed` for another try.

    `declined` is the provider's reason, when the method that came with the request was declined.
    """

    id: IdText
    order_id: IdText
    status: PaymentStatus
    amount: MoneyBody
    checkout_url: str | None
    created_at: TimeText
    declined: str | None = None

    @classmethod
    def of(cls, payment: Payment) -> PaymentView:
        return cls(
            str(payment.id),
            str(payment.order_id),
            payment.status,
            MoneyBody.of(payment.amount),
            payment.checkout_url,
            rfc3339(payment.created_ms),
            payment.declined,
        )


class WebhookReceived(Struct, frozen=True):
    received: bool = True


_CALLBACK: dict[str, Any] = {
    "parameters": [
        {"name": "provider", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": HEADER,
            "in": "header",
            "required": True,
            "description": "t=<unix s>,v1=<hex hmac-sha256 of t, a full stop and the raw body>; "
            "providers of payment intents send it as Stripe-Signature",
            "schema": {"type": "string"},
        },
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}
"""What the document says of a body that is read raw."""


def routes(service: PaymentsService) -> list[ControllerRouterHandler]:
    @get("/v1/payments/{payment_id:str}", guards=[allow()], tags=["payments"], summary="A payment of one's own")
    async def get_payment(request: AnyRequest, payment_id: FromPath[str]) -> PaymentView:
        return PaymentView.of(await service.payment(principal_of(request), parse_id(payment_id)))

    @post(
        "/v1/payments/webhooks/{provider:str}",
        status_code=200,
        guards=[public],
        tags=["payments"],
        summary="Callbacks of a payment provider",
        description="The signature over the raw body authorises. Send it again unless the answer is 2xx.",
        opt=_CALLBACK,
    )
    async def receive_webhook(request: AnyRequest, provider: FromPath[str]) -> WebhookReceived:
        body = await request.body()
        if len(body) > WEBHOOK_BYTES_MAX:
            raise BodyTooLarge(limit_bytes=WEBHOOK_BYTES_MAX)
        await service.receive_webhook(provider, request.headers.get(service.webhook_header(provider)), body)
        return WebhookReceived()

    return [get_payment, receive_webhook]
