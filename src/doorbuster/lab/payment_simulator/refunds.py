"""Refunds: whole or in parts, never beyond the capture, one per refund id."""

from __future__ import annotations

import sqlite3

import msgspec

from doorbuster.lab.payment_simulator import announcing, counters, intents
from doorbuster.lab.payment_simulator.errors import (
    CurrencyMismatchError,
    IdempotencyConflictError,
    NotCapturedError,
    RefundTooLargeError,
)
from doorbuster.lab.payment_simulator.messages import RefundDone, RefundRequest
from doorbuster.lab.payment_simulator.misbehaviour import Dice
from doorbuster.lab.payment_simulator.stored import RefundRow, StoredIntent


def refund(connection: sqlite3.Connection, request: RefundRequest, dice: Dice, now_ms: int) -> RefundDone:
    """Pay back, or repeat the answer this refund id got before.

    Raises:
        IdempotencyConflictError: the refund id exists with another payment, amount or currency.
        IntentNotFoundError, CurrencyMismatchError, NotCapturedError, RefundTooLargeError: nothing moved.
    """
    if _is_done(connection, request):
        return RefundDone(request.id)
    intent = intents.find(connection, request.payment_id)
    if request.currency != intent.currency:
        raise CurrencyMismatchError(request.currency, intent.currency)
    intent = pay_back(connection, intent, RefundRow(request.id, request.amount, request.currency, now_ms, {}))
    row = RefundRow(request.id, request.amount, request.currency, now_ms, {})
    announcing.announce(connection, "refunded", intent, row, dice, now_ms)
    return RefundDone(request.id)


def made(connection: sqlite3.Connection, intent: StoredIntent) -> list[RefundRow]:
    """The refunds of an intent, oldest first."""
    rows = connection.execute(
        "SELECT refund_id, amount, currency, at_ms, metadata FROM statement"
        " WHERE payment_id = ? AND kind = 'refund' ORDER BY seq",
        (intent.id,),
    )
    return [
        RefundRow(refund_id, amount, currency, at_ms, msgspec.json.decode(metadata, type=dict[str, str]))
        for refund_id, amount, currency, at_ms, metadata in rows
    ]


def _is_done(connection: sqlite3.Connection, request: RefundRequest) -> bool:
    done = connection.execute(
        "SELECT payment_id, amount, currency FROM statement WHERE refund_id = ? AND kind = 'refund'",
        (request.id,),
    ).fetchone()
    if done is None:
        return False
    if done != (request.payment_id, request.amount, request.currency):
        raise IdempotencyConflictError("refund", request.id)
    return True


def pay_back(connection: sqlite3.Connection, intent: StoredIntent, refund: RefundRow) -> StoredIntent:
    """Book a refund in the intent's currency; the intent as it is then.

    Raises:
        NotCapturedError, RefundTooLargeError: nothing moved.
    """
    if intent.captured == 0:
        raise NotCapturedError(intent.id, intent.status)
    left = intent.captured - intent.refunded
    if refund.amount > left:
        raise RefundTooLargeError(refund.amount, left)
    connection.execute(
        "UPDATE intents SET refunded = refunded + :amount,"
        " status = CASE WHEN refunded + :amount = captured THEN 'refunded' ELSE 'captured' END"
        " WHERE id = :id",
        {"amount": refund.amount, "id": intent.id},
    )
    connection.execute(
        "INSERT INTO statement"
        " (kind, payment_id, order_id, refund_id, amount, currency, at_ms, protocol, metadata)"
        " VALUES ('refund', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            intent.id,
            intent.order_id,
            refund.id,
            refund.amount,
            intent.currency,
            refund.at_ms,
            intent.protocol,
            msgspec.json.encode(refund.metadata).decode(),
        ),
    )
    counters.add(connection, "refunds")
    counters.add(connection, f"refunded.{intent.currency}", refund.amount)
    return intents.find(connection, intent.id)
