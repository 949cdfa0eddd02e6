"""The adapter to the payment simulator's own protocol: JSON, with our ids as the provider's.

Answers are bounded in size and checked before anybody believes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from doorbuster.contexts.payments.asking import FIRST_PAUSE_S, REFUSALS, Asker, understood
from doorbuster.contexts.payments.model import Intent, IntentStatus, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import (
    IntentUnknown,
    MadeRefund,
    Opened,
    Period,
    ProviderRefused,
    StatementLine,
    StatementPage,
)
from doorbuster.kernel.clock import parse_rfc3339, rfc3339
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.money import AMOUNT_MAX
from doorbuster.platform.neighbour import Neighbour

NAME = "simulator"
_NO_INTENT = "intent-not-found"
_JSON = "content-type: application/json\r\n"

T = TypeVar("T")
Refusal = Callable[[str, int, str], Exception | None]
"""From what was asked, status and slug: the error it means, or None if the provider should not say so."""

_OurId = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,18}\Z")]
_AnyId = Annotated[str, Meta(max_length=64)]
_Reference = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
_Slug = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}\Z")]
_Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
_Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
_Url = Annotated[str, Meta(pattern=r"^https?://[!-~]+\Z", max_length=2048)]


class _IntentRequest(Struct, frozen=True, omit_defaults=True):
    id: str
    order_id: str
    amount: int
    currency: str
    webhook_url: str
    method: str | None = None


class _RefundRequest(Struct, frozen=True):
    id: str
    payment_id: str
    amount: int
    currency: str


class _Intent(Struct, frozen=True):
    id: _OurId
    reference: _Reference
    status: IntentStatus
    order_id: _OurId
    amount: _Amount
    currency: _Currency
    captured: _Amount
    refunded: _Amount


class _Created(_Intent, frozen=True, kw_only=True):
    checkout_url: _Url
    decline: _Slug | None = None


class _Refunded(Struct, frozen=True):
    id: _OurId
    status: Literal["succeeded"]


class _MadeRefund(Struct, frozen=True):
    id: _AnyId
    amount: _Amount
    currency: _Currency


class _MadeRefunds(Struct, frozen=True):
    items: Annotated[list[_MadeRefund], Meta(max_length=1000)]


class _Line(Struct, frozen=True):
    kind: Literal["capture", "refund"]
    payment_id: _AnyId
    order_id: _AnyId
    refund_id: _AnyId | None
    amount: _Amount
    currency: _Currency
    at: Annotated[str, Meta(max_length=40)]


class _Page(Struct, frozen=True):
    items: Annotated[list[_Line], Meta(max_length=1000)]
    next_cursor: Annotated[str, Meta(max_length=200)] | None


class _Problem(Struct, frozen=True):
    slug: Annotated[str, Meta(max_length=64)] = ""


_encode = msgspec.json.Encoder().encode
_AN_INTENT = msgspec.json.Decoder(_Intent)
_CREATED = msgspec.json.Decoder(_Created)
_REFUNDED = msgspec.json.Decoder(_Refunded)
_MADE_REFUNDS = msgspec.json.Decoder(_MadeRefunds)
_PAGE = msgspec.json.Decoder(_Page)
_PROBLEM = msgspec.json.Decoder(_Problem)


class PaymentSimulator:
    """Satisfies `provider.Provider`."""

    name = NAME

    def __init__(
        self,
        base_url: str,
        webhook_url: str,
        timeout_s: float,
        first_pause_s: float = FIRST_PAUSE_S,
        neighbour: Neighbour | None = None,
    ) -> None:
        self._asker = Asker(base_url, timeout_s, first_pause_s, neighbour=neighbour)
        self._webhook_url = webhook_url

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        request = _IntentRequest(
            str(payment.id), str(payment.order_id), payment.amount, payment.currency, self._webhook_url, method
        )
        created = await self._call("POST", "/v1/intents", _CREATED, _refused, request)
        return Opened(_intent(created), created.checkout_url, created.decline)

    async def get_intent(self, payment: PaymentRecord) -> Intent:
        return _intent(await self._call("GET", f"/v1/intents/{payment.id}", _AN_INTENT, _unknown))

    async def cancel_intent(self, payment: PaymentRecord) -> Intent:
        return _intent(await self._call("POST", f"/v1/intents/{payment.id}/cancel", _AN_INTENT, _unknown))

    async def refund(self, refund: RefundRecord, payment: PaymentRecord) -> None:
        request = _RefundRequest(str(refund.id), str(payment.id), refund.amount, refund.currency)
        refunded = await self._call("POST", "/v1/refunds", _REFUNDED, _refused, request)
        if refunded.id != request.id:
            raise Unavailable("the payment provider answered about another refund")

    async def made_refunds(self, payment: PaymentRecord) -> Sequence[MadeRefund]:
        made = await self._call("GET", f"/v1/intents/{payment.id}/refunds", _MADE_REFUNDS, _unknown)
        return [MadeRefund(item.id, item.amount, item.currency) for item in made.items]

    async def statement(self, after: str | None, limit: int, period: Period | None = None) -> StatementPage:
        query = {"limit": str(limit)} | ({"after": after} if after is not None else {})
        if period is not None:
            query |= {"from": rfc3339(period.from_ms), "until": rfc3339(period.until_ms)}
        page = await self._call("GET", f"/v1/statement?{urlencode(query)}", _PAGE, _nothing_else)
        try:
            lines = tuple(_line(item) for item in page.items)
        except ValueError as error:
            raise Unavailable("the payment provider's statement has a time that is none") from error
        return StatementPage(lines, page.next_cursor)

    async def close(self) -> None:
        await self._asker.close()

    async def _call(
        self,
        method: str,
        target: str,
        decoder: msgspec.json.Decoder[T],
        refusal: Refusal,
        request: Struct | None = None,
    ) -> T:
        if request is not None:
            status, content = await self._asker.ask(method, target, _JSON, _encode(request))
        else:
            status, content = await self._asker.ask(method, target, "", b"" if method == "POST" else None)
        if not 200 <= status < 300:
            raise refusal(f"{method} {target}", status, _slug(content)) or Unavailable(
                f"the payment provider answered {status}"
            )
        return understood(content, decoder)


def _unknown(what: str, status: int, slug: str) -> Exception | None:
    """What a question about an intent may be refused with."""
    return IntentUnknown(what) if status == 404 and slug == _NO_INTENT else None


def _refused(what: str, status: int, slug: str) -> Exception | None:
    """What a request to open or give back may be refused with."""
    known = status in REFUSALS or (status == 404 and slug == _NO_INTENT)
    return ProviderRefused(what, status, slug) if known else None


def _nothing_else(_what: str, _status: int, _slug: str) -> None:
    """What is always answered, or not at all."""


def _slug(content: bytes) -> str:
    try:
        return _PROBLEM.decode(content).slug
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _intent(answer: _Intent) -> Intent:
    payment_id, order_id = int(answer.id), int(answer.order_id)
    if max(payment_id, order_id) > ID_MAX:
        raise Unavailable("the payment provider answered with an id that is none of ours")
    return Intent(
        payment_id,
        answer.reference,
        answer.status,
        order_id,
        answer.amount,
        answer.currency,
        answer.captured,
        answer.refunded,
    )


def _line(item: _Line) -> StatementLine:
    """Raises ValueError."""
    return StatementLine(
        item.kind,
        item.payment_id,
        item.order_id,
        item.refund_id,
        item.amount,
        item.currency,
        parse_rfc3339(item.at),
    )
