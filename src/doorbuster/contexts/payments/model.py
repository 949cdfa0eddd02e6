"""What a payment is, how it may move, and when a provider's word agrees with our row. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from doorbuster.contracts.payments import (
    AlreadyPaid,
    Payment,
    PaymentClosed,
    PaymentInProgress,
    PaymentStatus,
)
from doorbuster.kernel.money import Money

IntentStatus = Literal["requires_payment", "captured", "failed", "refunded", "cancelled"]
RefundStatus = Literal["requested", "succeeded"]
EntryKind = Literal["capture", "refund"]
STATUSES: tuple[PaymentStatus, ...] = get_args(PaymentStatus)

MOVES: Mapping[PaymentStatus, tuple[PaymentStatus, ...]] = {
    # Committed before the provider is asked; the shopper has no address to pay at yet.
    "in_progress": ("pending", "captured", "failed", "cancelled"),
    "pending": ("captured", "failed", "cancelled"),
    # Declined. The shopper may try another card, so a capture still wins.
    "failed": ("captured", "cancelled"),
    # Nothing was taken. A capture after our cancel is a provider's mistake, but the money is there: it is settled,
    # announced, and refunded by whoever finds the order gone.
    "cancelled": ("captured",),
    # Some of the money may have gone back already. "refunding" is the rest of it on its way.
    "captured": ("refunding",),
    "refunding": ("refunded",),
    "refunded": (),
}
"""Every move there is. The store puts `sources(to)` into the WHERE of each update."""

OPEN: tuple[PaymentStatus, ...] = ("in_progress", "pending")
"""At most one of these per order (a unique index)."""
CAPTURABLE: tuple[PaymentStatus, ...] = ("in_progress", "pending", "failed")
"""The provider may still take money for these."""
PAID: tuple[PaymentStatus, ...] = ("captured", "refunding", "refunded")
"""The money came in, whatever happened to it later."""

CLAIMING_MONEY = ("payment.captured", "refund.succeeded", "payment_intent.succeeded", "charge.refunded")
"""Types of callbacks, of all protocols, that are taken in only for payments that were captured."""


def sources(to: PaymentStatus) -> tuple[PaymentStatus, ...]:
    """From where a payment may move to `to`."""
    return tuple(status for status, onward in MOVES.items() if to in onward)


class PaymentRecord(Struct, frozen=True, kw_only=True):
    """A payment's row. Amounts are minor units of `currency`; instants are Unix milliseconds.

    `method` is the token it was to be confirmed with at once; `decline` the provider's reason (a slug) if that method
    was declined. 0 <= `refunded_amount` (gone back) <= `refund_requested` (asked back) <= `captured_amount`.
    """

    id: int
    order_id: int
    customer_id: int
    provider: str
    reference: str | None
    idempotency_key: str
    method: str | None
    amount: int
    currency: str
    status: PaymentStatus
    decline: str | None
    checkout_url: str | None
    lease_until_ms: int | None
    next_check_ms: int | None
    checks: int
    captured_amount: int
    refund_requested: int
    refunded_amount: int
    created_ms: int
    updated_ms: int
    captured_ms: int | None
    refunded_ms: int | None
    cause: str = ""
    """Of the request that opened it (kernel.cause). Its capture tells of it, however the provider's word comes."""

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    def as_payment(self) -> Payment:
        return Payment(
            self.id,
            self.order_id,
            self.customer_id,
            self.provider,
            self.status,
            self.money,
            self.checkout_url,
            self.created_ms,
            self.decline,
        )


class RefundRecord(Struct, frozen=True, kw_only=True):
    """A refund's row: some or all of a payment, given back for one cause."""

    id: int
    payment_id: int
    cause: str
    amount: int
    currency: str
    status: RefundStatus
    attempts: int
    next_try_ms: int
    created_ms: int
    succeeded_ms: int | None

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


class Intent(Struct, frozen=True):
    """A payment as the provider sees it; `captured` and `refunded` are minor units."""

    payment_id: int
    reference: str
    status: IntentStatus
    order_id: int
    amount: int
    currency: str
    captured: int
    refunded: int


class Disagreement(Exception):
    """What the provider says about a payment is not what our row says. Never settled; somebody must look."""

    def __init__(self, payment_id: int, field: str, theirs: object, ours: object) -> None:
        super().__init__(f"payment {payment_id}: the provider says {field}={theirs!r}, we say {ours!r}")
        self.payment_id = payment_id
        self.field = field


def require_agreement(payment: PaymentRecord, intent: Intent) -> Intent:
    """`intent`, if it is about this payment, order, amount and currency, to the last unit. Raises Disagreement."""
    taken = payment.amount if intent.status in ("captured", "refunded") else 0
    pairs: tuple[tuple[str, object, object], ...] = (
        ("payment_id", intent.payment_id, payment.id),
        ("order_id", intent.order_id, payment.order_id),
        ("amount", intent.amount, payment.amount),
        ("currency", intent.currency, payment.currency),
        ("captured", intent.captured, taken),
        # A row that is still in progress has no reference yet: the provider's answer to our own id brings it.
        ("reference", intent.reference, payment.reference or intent.reference),
    )
    for field, theirs, ours in pairs:
        if theirs != ours:
            raise Disagreement(payment.id, field, theirs, ours)
    return intent


_TARGETS: Mapping[IntentStatus, PaymentStatus | None] = {
    "requires_payment": None,
    "failed": "failed",
    "cancelled": "cancelled",
    "captured": "captured",
    # Whether it was we who asked for the refund is another row's business.
    "refunded": "captured",
}


def target_of(intent: Intent) -> PaymentStatus | None:
    """Where the provider's word moves a payment, if the row is somewhere it may move from."""
    return _TARGETS[intent.status]


def answer_of(payment: PaymentRecord) -> Payment:
    """What the creating request was answered, the first time and ever after; with a method, what came of it.

    Raises PaymentInProgress, AlreadyPaid, PaymentClosed when it never was.
    """
    if payment.method is not None:
        return _answer_with_method(payment)
    if payment.checkout_url is not None:
        return msgspec.structs.replace(payment.as_payment(), status="pending")
    if payment.status == "in_progress":
        raise PaymentInProgress(payment_id=payment.id)
    if payment.status in PAID:
        raise AlreadyPaid(payment_id=payment.id)
    raise PaymentClosed(payment_id=payment.id)


def _answer_with_method(payment: PaymentRecord) -> Payment:
    if payment.status == "in_progress":
        raise PaymentInProgress(payment_id=payment.id)
    if payment.status in PAID:
        return msgspec.structs.replace(payment.as_payment(), status="captured")
    if payment.decline is not None:  # also when it was closed after that
        return msgspec.structs.replace(payment.as_payment(), status="failed")
    if payment.status == "cancelled":
        raise PaymentClosed(payment_id=payment.id)
    return payment.as_payment()


class Entry(Struct, frozen=True):
    """One side of a ledger transaction: signed minor units, positive for a debit."""

    account: str
    amount: int
    currency: str


class Unbalanced(Exception):
    """A ledger transaction whose entries do not sum to zero per currency. A bug; nothing is written."""


class LedgerTransaction(Struct, frozen=True):
    """Entries that are true together. `refund_id` is 0 for a capture."""

    id: int
    payment_id: int
    refund_id: int
    kind: EntryKind
    cause: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        sums: Counter[str] = Counter()
        for entry in self.entries:
            sums[entry.currency] += entry.amount
        if len(self.entries) < 2 or any(sums.values()):
            raise Unbalanced(f"{self.kind} of payment {self.payment_id}: {dict(sums)}")


CUSTOMERS = "customers"
"""What we owe for orders: credited by a capture, debited by a refund."""


def provider_account(provider: str) -> str:
    """What the provider holds for us."""
    return f"provider:{provider}"


def capture_of(payment: PaymentRecord, transaction_id: int) -> LedgerTransaction:
    return LedgerTransaction(transaction_id, payment.id, 0, "capture", "captured", _transfer(payment, payment.amount))


def refund_of(payment: PaymentRecord, refund: RefundRecord, transaction_id: int) -> LedgerTransaction:
    return LedgerTransaction(
        transaction_id, payment.id, refund.id, "refund", refund.cause, _transfer(payment, -refund.amount)
    )


def _transfer(payment: PaymentRecord, amount: int) -> tuple[Entry, ...]:
    return (
        Entry(provider_account(payment.provider), amount, payment.currency),
        Entry(CUSTOMERS, -amount, payment.currency),
    )


class Pace(Struct, frozen=True, kw_only=True):
    """How long things may take and how often they are tried again. All bounded, none gives up."""

    lease_ms: int = 10_000
    """How long a request owns its `in_progress` payment: longer than the provider may take to answer."""
    abandoned_ms: int = 5_000
    """How long after its lease an `in_progress` payment waits for its shopper before the sweep carries it on."""
    check_first_ms: int = 15_000
    """How long a payment waits for its webhook before the provider is asked."""
    check_cap_ms: int = 600_000
    refund_first_ms: int = 1_000
    refund_cap_ms: int = 300_000
    refunds_sweep_s: float = 0.25
    checks_sweep_s: float = 1.0
    page: int = 64
    """Rows taken per look."""
    at_once: int = 8
    """Questions to the provider under way at a time, per page."""
    outages_max: int = 3
    """After so many unanswered questions the rest of a page is not asked: the provider is away."""

    def next_check_ms(self, now_ms: int, checks: int) -> int:
        """When to ask again after `checks` questions."""
        return now_ms + _doubled(self.check_first_ms, checks, self.check_cap_ms)

    def next_try_ms(self, now_ms: int, attempts: int) -> int:
        """When to try a refund again after `attempts` tries."""
        return now_ms + _doubled(self.refund_first_ms, attempts - 1, self.refund_cap_ms)


def _doubled(first_ms: int, times: int, cap_ms: int) -> int:
    return min(cap_ms, first_ms << min(max(times, 0), 30))
