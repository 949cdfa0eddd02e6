"""Intents in the store: created, cancelled or captured, and never two of the last."""

from __future__ import annotations

import hashlib
import sqlite3

from msgspec import Struct

from doorbuster.lab.payment_simulator import counters, outbox
from doorbuster.lab.payment_simulator.errors import (
    IdempotencyConflictError,
    IntentNotFoundError,
    TooManyTriesError,
)
from doorbuster.lab.payment_simulator.messages import (
    Event,
    EventData,
    EventType,
    Intent,
    IntentRequest,
    IntentStatus,
    Outcome,
)
from doorbuster.lab.payment_simulator.misbehaviour import Dice

DECLINES_MAX = 50
PAYABLE = ("requires_payment", "failed")

_COLUMNS = "id, reference, status, order_id, amount, currency, captured, refunded, webhook_url, declines"


class StoredIntent(Struct, frozen=True):
    """An intent's row; ``declines`` counts the tries that were declined."""

    id: str
    reference: str
    status: IntentStatus
    order_id: str
    amount: int
    currency: str
    captured: int
    refunded: int
    webhook_url: str
    declines: int

    @property
    def shown(self) -> Intent:
        """What the API tells."""
        return Intent(
            self.id,
            self.reference,
            self.status,
            self.order_id,
            self.amount,
            self.currency,
            self.captured,
            self.refunded,
        )


def derived_id(prefix: str, seed: int, *parts: object) -> str:
    """An id that the same seed gives to the same subject again, so that a run can be repeated."""
    text = "|".join(map(str, (seed, prefix, *parts)))
    return f"{prefix}_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"


def find(connection: sqlite3.Connection, payment_id: str) -> StoredIntent:
    """The intent with the merchant's id.

    Raises:
        IntentNotFoundError: there is none.
    """
    row = connection.execute(f"SELECT {_COLUMNS} FROM intents WHERE id = ?", (payment_id,)).fetchone()  # noqa: S608 - constants
    if row is None:
        raise IntentNotFoundError(payment_id)
    return StoredIntent(*row)


def find_by_reference(connection: sqlite3.Connection, reference: str) -> StoredIntent:
    """The intent with the provider's reference.

    Raises:
        IntentNotFoundError: there is none.
    """
    row = connection.execute(f"SELECT {_COLUMNS} FROM intents WHERE reference = ?", (reference,)).fetchone()  # noqa: S608 - constants
    if row is None:
        raise IntentNotFoundError(reference)
    return StoredIntent(*row)


def create(connection: sqlite3.Connection, request: IntentRequest, seed: int) -> StoredIntent:
    """Insert the intent, or return the one that this id made before.

    Raises:
        IdempotencyConflictError: the id exists with another amount, currency or order.
    """
    reference = derived_id("pay", seed, request.id)
    inserted = connection.execute(
        f"INSERT INTO intents ({_COLUMNS})"  # noqa: S608 - constants
        " VALUES (?, ?, 'requires_payment', ?, ?, ?, 0, 0, ?, 0) ON CONFLICT (id) DO NOTHING",
        (request.id, reference, request.order_id, request.amount, request.currency, request.webhook_url),
    )
    stored = find(connection, request.id)
    asked = (request.order_id, request.amount, request.currency)
    if (stored.order_id, stored.amount, stored.currency) != asked:
        raise IdempotencyConflictError("intent", request.id)
    counters.add(connection, "intents", inserted.rowcount)
    return stored


def cancel(connection: sqlite3.Connection, payment_id: str) -> StoredIntent:
    """Cancel for ever, unless the money was captured already: the returned status tells which.

    Raises:
        IntentNotFoundError: there is no such intent.
    """
    cancelled = connection.execute(
        "UPDATE intents SET status = 'cancelled' WHERE id = ? AND status IN ('requires_payment', 'failed')",
        (payment_id,),
    )
    counters.add(connection, "cancelled", cancelled.rowcount)
    return find(connection, payment_id)


def confirm(connection: sqlite3.Connection, reference: str, outcome: Outcome, dice: Dice, now_ms: int) -> StoredIntent:
    """Let the shopper pay, or be declined; an intent captured or cancelled before stays as it is.

    Raises:
        IntentNotFoundError: there is no such reference.
        TooManyTriesError: declined ``DECLINES_MAX`` times.
    """
    intent = find_by_reference(connection, reference)
    if intent.status not in PAYABLE:
        return intent
    if intent.declines >= DECLINES_MAX:
        raise TooManyTriesError(DECLINES_MAX)
    if outcome == "success":
        _capture(connection, intent, dice, now_ms)
    else:
        _decline(connection, intent, dice, now_ms)
    return find(connection, intent.id)


def _capture(connection: sqlite3.Connection, intent: StoredIntent, dice: Dice, now_ms: int) -> None:
    connection.execute(
        "UPDATE intents SET status = 'captured', captured = amount"
        " WHERE id = ? AND status IN ('requires_payment', 'failed')",
        (intent.id,),
    )
    connection.execute(
        "INSERT INTO statement (kind, payment_id, order_id, amount, currency, at_ms) VALUES ('capture', ?, ?, ?, ?, ?)",
        (intent.id, intent.order_id, intent.amount, intent.currency, now_ms),
    )
    counters.add(connection, "captures")
    counters.add(connection, f"captured.{intent.currency}", intent.amount)
    event = make_event("payment.captured", intent, intent.amount, None, dice.seed, now_ms)
    outbox.announce(connection, event, intent.webhook_url, dice, now_ms)


def _decline(connection: sqlite3.Connection, intent: StoredIntent, dice: Dice, now_ms: int) -> None:
    connection.execute("UPDATE intents SET status = 'failed', declines = declines + 1 WHERE id = ?", (intent.id,))
    counters.add(connection, "declines")
    event = make_event("payment.failed", intent, intent.amount, None, dice.seed, now_ms)
    outbox.announce(connection, event, intent.webhook_url, dice, now_ms)


def make_event(
    kind: EventType, intent: StoredIntent, amount: int, refund_id: str | None, seed: int, now_ms: int
) -> Event:
    """The event to announce; its id is the same in every delivery of it."""
    event_id = derived_id("evt", seed, kind, intent.id, intent.declines, refund_id)
    data = EventData(intent.id, intent.order_id, intent.reference, amount, intent.currency, refund_id)
    return Event(event_id, kind, now_ms, data)
