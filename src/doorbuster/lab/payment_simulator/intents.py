"""Intents in the store: created, cancelled or captured, and never two of the last. Both protocols share them.

The simulator's own protocol knows an intent by the merchant's payment id; that of payment intents by the provider's
reference, with the merchant's ids in its metadata.
"""

from __future__ import annotations

import hashlib
import sqlite3

import msgspec
from msgspec import Struct

from doorbuster.lab.payment_simulator import announcing, counters
from doorbuster.lab.payment_simulator.errors import (
    IdempotencyConflictError,
    IntentNotFoundError,
    MethodUnknownError,
    TooManyTriesError,
)
from doorbuster.lab.payment_simulator.messages import (
    METHODS,
    IntentRequest,
    Outcome,
)
from doorbuster.lab.payment_simulator.misbehaviour import Dice
from doorbuster.lab.payment_simulator.stored import StoredIntent

DECLINES_MAX = 50
PAYABLE = ("requires_payment", "failed")
DECLINED_BY_HAND = "card_declined"

_COLUMNS = (
    "id, reference, status, order_id, amount, currency, captured, refunded, webhook_url, declines, "
    "protocol, decline, stage, method, metadata, created_ms"
)


class Conditions(Struct, frozen=True):
    """Under which a change is made: the dice, the time, and whether what was confirmed at once is announced."""

    dice: Dice
    now_ms: int
    announce_at_once: bool = True


def derived_id(prefix: str, seed: int, *parts: object) -> str:
    """An id that the same seed gives to the same subject again, so that a run can be repeated."""
    text = "|".join(map(str, (seed, prefix, *parts)))
    return f"{prefix}_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"


def find(connection: sqlite3.Connection, payment_id: str) -> StoredIntent:
    """The intent with that id.

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


def create(connection: sqlite3.Connection, request: IntentRequest, conditions: Conditions) -> StoredIntent:
    """Insert the intent and confirm it if asked to, or return the one that this id made before.

    Raises:
        IdempotencyConflictError: the id exists with another amount, currency or order.
        MethodUnknownError: the method is none of ours; nothing was made.
    """
    require_method(request.method)
    new = StoredIntent(
        request.id,
        derived_id("pay", conditions.dice.seed, request.id),
        "requires_payment",
        request.order_id,
        request.amount,
        request.currency,
        0,
        0,
        request.webhook_url,
        0,
        "simulator",
        None,
        "",
        request.method,
        "{}",
        conditions.now_ms,
    )
    opened = open_intent(connection, new, request.method, conditions)
    if opened is not None:
        return opened
    stored = find(connection, request.id)
    asked = (request.order_id, request.amount, request.currency)
    if (stored.order_id, stored.amount, stored.currency) != asked:
        raise IdempotencyConflictError("intent", request.id)
    return stored


def require_method(method: str | None) -> None:
    """Raises MethodUnknownError."""
    if method is not None and method not in METHODS:
        raise MethodUnknownError(method)


_INSERT = (
    f"INSERT INTO intents ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - constants
    "ON CONFLICT (id) DO NOTHING"
)


def insert(connection: sqlite3.Connection, new: StoredIntent) -> bool:
    """False if its id is taken."""
    inserted = connection.execute(
        _INSERT,
        (
            new.id,
            new.reference,
            new.status,
            new.order_id,
            new.amount,
            new.currency,
            new.captured,
            new.refunded,
            new.webhook_url,
            new.declines,
            new.protocol,
            new.decline,
            new.stage,
            new.method,
            new.metadata,
            new.created_ms,
        ),
    )
    counters.add(connection, "intents", inserted.rowcount)
    return inserted.rowcount == 1


def open_intent(
    connection: sqlite3.Connection, new: StoredIntent, method: str | None, conditions: Conditions
) -> StoredIntent | None:
    """Insert a new intent and let the method that came with the request pay; None if its id is taken."""
    outcome, code = METHODS[method] if method is not None else ("", "")
    announce = conditions.announce_at_once
    if outcome == "success":  # the frequent case, in one row
        captured = _as_captured(new)
        if not insert(connection, captured):
            return None
        _book_capture(connection, captured, conditions, announce=announce)
        return captured
    if not insert(connection, new):
        return None
    if outcome == "decline":
        return _decline(connection, new, code, conditions, announce=announce)
    if outcome == "action":
        connection.execute("UPDATE intents SET stage = 'requires_action' WHERE id = ?", (new.id,))
        return msgspec.structs.replace(new, stage="requires_action")
    return new


def cancel(connection: sqlite3.Connection, payment_id: str, conditions: Conditions) -> tuple[StoredIntent, bool]:
    """Cancel for ever, unless the money was captured already; says whether this call did.

    Raises:
        IntentNotFoundError: there is no such intent.
    """
    cancelled = connection.execute(
        "UPDATE intents SET status = 'cancelled', stage = '' WHERE id = ? AND status IN ('requires_payment', 'failed')",
        (payment_id,),
    )
    counters.add(connection, "cancelled", cancelled.rowcount)
    intent = find(connection, payment_id)
    if cancelled.rowcount and intent.protocol == "stripe":
        announcing.announce(connection, "cancelled", intent, None, conditions.dice, conditions.now_ms)
    return intent, cancelled.rowcount == 1


def confirm(connection: sqlite3.Connection, reference: str, outcome: Outcome, conditions: Conditions) -> StoredIntent:
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
        return _capture(connection, intent, conditions, announce=True)
    return _decline(connection, intent, DECLINED_BY_HAND, conditions, announce=True)


def _capture(
    connection: sqlite3.Connection, intent: StoredIntent, conditions: Conditions, *, announce: bool
) -> StoredIntent:
    connection.execute(
        "UPDATE intents SET status = 'captured', captured = amount, stage = '', decline = NULL"
        " WHERE id = ? AND status IN ('requires_payment', 'failed')",
        (intent.id,),
    )
    captured = _as_captured(intent)
    _book_capture(connection, captured, conditions, announce=announce)
    return captured


def _as_captured(intent: StoredIntent) -> StoredIntent:
    return msgspec.structs.replace(intent, status="captured", captured=intent.amount, stage="", decline=None)


def _book_capture(
    connection: sqlite3.Connection, captured: StoredIntent, conditions: Conditions, *, announce: bool
) -> None:
    connection.execute(
        "INSERT INTO statement (kind, payment_id, order_id, amount, currency, at_ms, protocol, metadata)"
        " VALUES ('capture', ?, ?, ?, ?, ?, ?, ?)",
        (
            captured.id,
            captured.order_id,
            captured.amount,
            captured.currency,
            conditions.now_ms,
            captured.protocol,
            captured.metadata,
        ),
    )
    counters.add(connection, "captures")
    counters.add(connection, f"captured.{captured.currency}", captured.amount)
    if announce:
        announcing.announce(connection, "captured", captured, None, conditions.dice, conditions.now_ms)


def _decline(
    connection: sqlite3.Connection, intent: StoredIntent, code: str, conditions: Conditions, *, announce: bool
) -> StoredIntent:
    connection.execute(
        "UPDATE intents SET status = 'failed', declines = declines + 1, decline = ?, stage = '' WHERE id = ?",
        (code, intent.id),
    )
    counters.add(connection, "declines")
    declined = msgspec.structs.replace(intent, status="failed", declines=intent.declines + 1, decline=code, stage="")
    if announce:
        # The number of a decline is that of the tries before it.
        announcing.announce(connection, "failed", declined, None, conditions.dice, conditions.now_ms)
    return declined
