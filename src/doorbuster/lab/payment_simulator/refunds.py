"""Refunds: whole or in parts, never beyond the capture, one per refund id."""

from __future__ import annotations

import sqlite3

from doorbuster.lab.payment_simulator import counters, intents, outbox
from doorbuster.lab.payment_simulator.errors import (
    CurrencyMismatchError,
    IdempotencyConflictError,
    NotCapturedError,
    RefundTooLargeError,
)
from doorbuster.lab.payment_simulator.intents import StoredIntent
from doorbuster.lab.payment_simulator.messages import RefundDone, RefundRequest
from doorbuster.lab.payment_simulator.misbehaviour import Dice


def refund(connection: sqlite3.Connection, request: RefundRequest, dice: Dice, now_ms: int) -> RefundDone:
    """Pay back, or repeat the answer this refund id got before.

    Raises:
        IdempotencyConflictError: the refund id exists with another payment, amount or currency.
        IntentNotFoundError, CurrencyMismatchError, NotCapturedError, RefundTooLargeError: nothing moved.
    """
    if _is_done(connection, request):
        return RefundDone(request.id)
    intent = intents.find(connection, request.payment_id)
    _check(intent, request)
    _pay_back(connection, intent, request, now_ms)
    event = intents.make_event("refund.succeeded", intent, request.amount, request.id, dice.seed, now_ms)
    outbox.announce(connection, event, intent.webhook_url, dice, now_ms)
    return RefundDone(request.id)


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


def _check(intent: StoredIntent, request: RefundRequest) -> None:
    if request.currency != intent.currency:
        raise CurrencyMismatchError(request.currency, intent.currency)
    if intent.captured == 0:
        raise NotCapturedError(intent.id, intent.status)
    left = intent.captured - intent.refunded
    if request.amount > left:
        raise RefundTooLargeError(request.amount, left)


def _pay_back(connection: sqlite3.Connection, intent: StoredIntent, request: RefundRequest, now_ms: int) -> None:
    connection.execute(
        "UPDATE intents SET refunded = refunded + :amount,"
        " status = CASE WHEN refunded + :amount = captured THEN 'refunded' ELSE 'captured' END"
        " WHERE id = :id",
        {"amount": request.amount, "id": intent.id},
    )
    connection.execute(
        "INSERT INTO statement (kind, payment_id, order_id, refund_id, amount, currency, at_ms)"
        " VALUES ('refund', ?, ?, ?, ?, ?, ?)",
        (intent.id, intent.order_id, request.id, request.amount, intent.currency, now_ms),
    )
    counters.add(connection, "refunds")
    counters.add(connection, f"refunded.{intent.currency}", request.amount)
