"""The adapter to providers that speak payment intents, in the manner of Stripe: form-encoded requests with an
Idempotency-Key and a secret key, answered in JSON.

Our payment's id is the idempotency key of its intent, our refund's id that of its refund; both travel in `metadata`.
The provider's own id of the intent is our row's reference. Written from the public description of the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from doorbuster.contexts.payments.asking import FIRST_PAUSE_S, REFUSALS, Asker, understood
from doorbuster.contexts.payments.model import Intent, IntentStatus, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import (
    CONFLICT,
    IntentUnknown,
    MadeRefund,
    Opened,
    Period,
    ProviderRefused,
    StatementLine,
    StatementPage,
)
from doorbuster.contexts.payments.stripe_objects import (
    BalanceTransaction,
    BalanceTransactionList,
    Charge,
    ErrorAnswer,
    ErrorBody,
    PaymentIntent,
    Refund,
    RefundList,
    Source,
)
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import ID_MAX
from doorbuster.platform.neighbour import Neighbour

NAME = "stripe"
API_VERSION = "2024-06-20"
KEY_LIFE_MS = 23 * 3600 * 1000
"""The provider forgets idempotency keys after a day: a request that old is not sent again, it could act twice."""
PAGE_MAX = 100
REFUND_PAGES_MAX = 50
"""Of one payment; of one with more it is never said that a refund was not made."""

_PAYMENT, _ORDER, _REFUND = "metadata[payment_id]", "metadata[order_id]", "metadata[refund_id]"
_EXPANDED = "expand[]=latest_charge"
_CAPTURES = ("charge", "payment")
_REFUNDS = ("refund", "payment_refund")
_MOVED_ON = "payment_intent_unexpected_state"

T = TypeVar("T")
Form = Sequence[tuple[str, str]]

_INTENT = msgspec.json.Decoder(PaymentIntent)
_A_REFUND = msgspec.json.Decoder(Refund)
_REFUND_LIST = msgspec.json.Decoder(RefundList)
_TRANSACTIONS = msgspec.json.Decoder(BalanceTransactionList)
_ERROR = msgspec.json.Decoder(ErrorAnswer)


class PaymentIntentsProvider:
    """Satisfies `provider.Provider`. The shopper pays at `checkout_url` + "/" + the intent's reference."""

    name = NAME

    def __init__(
        self,
        base_url: str,
        secret_key: str,
        clock: Clock,
        timeout_s: float,
        checkout_url: str = "",
        first_pause_s: float = FIRST_PAUSE_S,
        neighbour: Neighbour | None = None,
    ) -> None:
        # 409: another request with this key is being worked on.
        self._asker = Asker(base_url, timeout_s, first_pause_s, lambda status, _: status == 409, neighbour)
        self._clock = clock
        self._checkout_url = checkout_url.rstrip("/") or f"{base_url.rstrip('/')}/checkout"
        self._headers = f"authorization: Bearer {secret_key}\r\nstripe-version: {API_VERSION}\r\n"

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        if self._clock.now_ms() - payment.created_ms > KEY_LIFE_MS:
            # If it did act the first time, its callback or the reconciliation brings it.
            raise ProviderRefused("create", 0, "idempotency-key-expired")
        form = [
            ("amount", str(payment.amount)),
            ("currency", payment.currency.lower()),
            (_PAYMENT, str(payment.id)),
            (_ORDER, str(payment.order_id)),
            ("automatic_payment_methods[enabled]", "true"),
            ("expand[]", "latest_charge"),
        ]
        if method is not None:
            form += [("payment_method", method), ("confirm", "true")]
        status, content = await self._post("/v1/payment_intents", form, str(payment.id))
        if status == 402:
            error = _error(content)
            if error.payment_intent is None:
                raise ProviderRefused("create", status, _slug(error))
            return self._opened(error.payment_intent, _slug(error))
        if status != 200:
            raise _refusal("create", status, content)
        return self._opened(understood(content, _INTENT), None)

    async def get_intent(self, payment: PaymentRecord) -> Intent:
        return _intent(await self._get(f"{_path_of(payment)}?{_EXPANDED}", _INTENT))

    async def cancel_intent(self, payment: PaymentRecord) -> Intent:
        # Without a key: cancelling twice is refused, by telling what it is.
        status, content = await self._post(f"{_path_of(payment)}/cancel", [("expand[]", "latest_charge")], None)
        if status == 200:
            return _intent(understood(content, _INTENT))
        if status == 404:
            raise IntentUnknown("cancel")
        if status == 400 and _error(content).code == _MOVED_ON:
            return await self.get_intent(payment)
        raise Unavailable(f"the payment provider answered {status} to a cancellation")

    async def refund(self, refund: RefundRecord, payment: PaymentRecord) -> None:
        if refund.attempts > 1:
            # Its key may be forgotten by now: look before asking again.
            for made in await self._refunds_of(payment):
                if made.metadata.get("refund_id") == str(refund.id):
                    return _require_made(made, refund)
        form = [
            ("payment_intent", payment.reference or ""),
            ("amount", str(refund.amount)),
            (_REFUND, str(refund.id)),
            (_PAYMENT, str(payment.id)),
            (_ORDER, str(payment.order_id)),
        ]
        status, content = await self._post("/v1/refunds", form, str(refund.id))
        if status != 200:
            raise _refusal("refund", status, content)
        return _require_made(understood(content, _A_REFUND), refund)

    async def made_refunds(self, payment: PaymentRecord) -> Sequence[MadeRefund]:
        return [
            MadeRefund(made.metadata.get("refund_id", made.id)[:64], made.amount, made.currency.upper())
            for made in await self._refunds_of(payment)
            if made.status == "succeeded"
        ]

    async def statement(self, after: str | None, limit: int, period: Period | None = None) -> StatementPage:
        query = [("limit", str(min(limit, PAGE_MAX))), ("expand[]", "data.source")]
        if after is not None:
            query.append(("starting_after", after))
        if period is not None:
            query += [("created[gte]", str(period.from_ms // 1000)), ("created[lt]", str(period.until_ms // 1000))]
        page = await self._get(f"/v1/balance_transactions?{urlencode(query)}", _TRANSACTIONS)
        lines = tuple(line for line in map(_line, page.data) if line is not None)
        return StatementPage(lines, page.data[-1].id if page.has_more and page.data else None)

    async def close(self) -> None:
        await self._asker.close()

    def _opened(self, intent: PaymentIntent, decline: str | None) -> Opened:
        return Opened(_intent(intent), f"{self._checkout_url}/{intent.id}", decline)

    async def _refunds_of(self, payment: PaymentRecord) -> list[Refund]:
        """All of them, newest first. Raises Unavailable when they are too many to be sure."""
        found: list[Refund] = []
        query = [("payment_intent", payment.reference or ""), ("limit", str(PAGE_MAX))]
        behind: list[tuple[str, str]] = []
        for _ in range(REFUND_PAGES_MAX):
            page = await self._get(f"/v1/refunds?{urlencode([*query, *behind])}", _REFUND_LIST)
            found += page.data
            if not page.has_more or not page.data:
                return found
            behind = [("starting_after", page.data[-1].id)]
        raise Unavailable(f"the payment has more than {REFUND_PAGES_MAX * PAGE_MAX} refunds")

    async def _get(self, target: str, decoder: msgspec.json.Decoder[T]) -> T:
        """Raises Unavailable, IntentUnknown."""
        status, content = await self._asker.ask("GET", target, self._headers)
        if status == 404 and _error(content).code == "resource_missing":
            raise IntentUnknown(target)
        if status != 200:
            raise Unavailable(f"the payment provider answered {status}")
        return understood(content, decoder)

    async def _post(self, target: str, form: Form, key: str | None) -> tuple[int, bytes]:
        headers = f"{self._headers}content-type: application/x-www-form-urlencoded\r\n"
        if key is not None:
            headers += f"idempotency-key: {key}\r\n"
        return await self._asker.ask("POST", target, headers, urlencode(form).encode())


def _path_of(payment: PaymentRecord) -> str:
    """Raises IntentUnknown: what the provider calls it is known only once it has answered."""
    if payment.reference is None:
        raise IntentUnknown(f"payment {payment.id} has no reference yet")
    return f"/v1/payment_intents/{payment.reference}"


def _error(content: bytes) -> ErrorBody:
    """What a refusal says; nothing if it cannot be read."""
    try:
        return _ERROR.decode(content).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorBody()


def _slug(error: ErrorBody) -> str:
    """`insufficient_funds` → `insufficient-funds`."""
    code = error.decline_code or error.code or error.type or "declined"
    return "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in code.lower())[:64]


def _refusal(what: str, status: int, content: bytes) -> Exception:
    error = _error(content)
    if error.type == "idempotency_error":
        return ProviderRefused(what, status, CONFLICT)
    understood_by_them = status in REFUSALS or (status == 404 and error.code == "resource_missing")
    if understood_by_them and error.type:
        return ProviderRefused(what, status, _slug(error))
    return Unavailable(f"the payment provider answered {status}")


def status_of(intent: PaymentIntent, refunded: int) -> IntentStatus:
    match intent.status:
        case "succeeded":
            return "refunded" if 0 < intent.amount_received <= refunded else "captured"
        case "canceled":
            return "cancelled"
        case "requires_payment_method" if intent.last_payment_error is not None:
            return "failed"
        case _:  # being typed in, confirmed or processed: nothing was taken, something may be
            return "requires_payment"


def _intent(intent: PaymentIntent) -> Intent:
    charge = intent.latest_charge
    refunded = charge.amount_refunded if isinstance(charge, Charge) else 0
    return Intent(
        our_id(intent.metadata.get("payment_id")),
        intent.id,
        status_of(intent, refunded),
        our_id(intent.metadata.get("order_id")),
        intent.amount,
        intent.currency.upper(),
        intent.amount_received,
        refunded,
    )


def our_id(text: str | None) -> int:
    """0 for what is no id of ours: it agrees with nothing."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 19) or int(text) > ID_MAX:
        return 0
    return int(text)


def _require_made(made: Refund, refund: RefundRecord) -> None:
    """Raises Unavailable while it is on its way or is not ours, ProviderRefused when it came to nothing."""
    theirs = (made.metadata.get("refund_id"), made.amount, made.currency.upper())
    if theirs != (str(refund.id), refund.amount, refund.currency):
        raise Unavailable("the payment provider answered about another refund")
    if made.status in ("pending", "requires_action"):
        raise Unavailable("the payment provider has taken the refund in, but not made it yet")
    if made.status != "succeeded":
        raise ProviderRefused("refund", 200, f"refund-{made.status}")


def _line(moved: BalanceTransaction) -> StatementLine | None:
    """None for what is no capture and no refund: fees, payouts."""
    if moved.type not in (*_CAPTURES, *_REFUNDS):
        return None
    source = moved.source if isinstance(moved.source, Source) else None
    metadata = source.metadata if source is not None else {}
    is_capture = moved.type in _CAPTURES
    payment = metadata.get("payment_id") or (source.payment_intent if source is not None else None) or moved.id
    return StatementLine(
        "capture" if is_capture else "refund",
        payment[:64],
        metadata.get("order_id", "")[:64],
        None if is_capture else metadata.get("refund_id", source.id if source is not None else moved.id)[:64],
        abs(moved.amount),
        moved.currency.upper(),
        moved.created * 1000,
    )
