"""What is told of an intent, in the words of its protocol."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Literal

import msgspec

from doorbuster.lab.payment_simulator import outbox, stripe_objects
from doorbuster.lab.payment_simulator.messages import Event, EventData, EventType
from doorbuster.lab.payment_simulator.misbehaviour import Dice
from doorbuster.lab.payment_simulator.outbox import Announcement
from doorbuster.lab.payment_simulator.stored import RefundRow, StoredIntent

What = Literal["captured", "failed", "cancelled", "refunded"]

_KINDS: dict[str, EventType] = {
    "captured": "payment.captured",
    "failed": "payment.failed",
    "refunded": "refund.succeeded",
}
_INTENT_KINDS = {
    "captured": "payment_intent.succeeded",
    "failed": "payment_intent.payment_failed",
    "cancelled": "payment_intent.canceled",
}


def announce(
    connection: sqlite3.Connection, what: What, intent: StoredIntent, refund: RefundRow | None, dice: Dice, now_ms: int
) -> None:
    """Write the deliveries that tell it; none for an account without an endpoint."""
    if not intent.webhook_url:
        return
    for announcement in _announcements(what, intent, refund, dice.seed, now_ms):
        outbox.announce(connection, announcement, intent.webhook_url, dice, now_ms)


def _announcements(
    what: What, intent: StoredIntent, refund: RefundRow | None, seed: int, now_ms: int
) -> list[Announcement]:
    if intent.protocol == "simulator":
        amount = intent.amount if refund is None else refund.amount
        event = _event(_KINDS[what], intent, amount, None if refund is None else refund.id, seed, now_ms)
        return [Announcement(event.id, intent.id, msgspec.json.encode(event), "simulator")]
    if refund is None:
        told = [(_INTENT_KINDS[what], stripe_objects.intent_object(intent))]
    else:
        told = [
            ("charge.refunded", stripe_objects.charge_object(intent)),
            ("refund.updated", stripe_objects.refund_object(refund, intent.reference)),
        ]
    return [_stripe(kind, subject, intent, refund, seed, now_ms) for kind, subject in told]


def _event(kind: EventType, intent: StoredIntent, amount: int, refund_id: str | None, seed: int, now_ms: int) -> Event:
    data = EventData(intent.id, intent.order_id, intent.reference, amount, intent.currency, refund_id)
    return Event(_event_id(kind, intent, refund_id, seed), kind, now_ms, data)


def _stripe(
    kind: str,
    subject: dict[str, object],
    intent: StoredIntent,
    refund: RefundRow | None,
    seed: int,
    now_ms: int,
) -> Announcement:
    event_id = _event_id(kind, intent, None if refund is None else refund.id, seed)
    body = {
        "id": event_id,
        "object": "event",
        "api_version": stripe_objects.API_VERSION,
        "created": now_ms // 1000,
        "data": {"object": subject},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    return Announcement(event_id, intent.id, msgspec.json.encode(body), "stripe")


def _event_id(kind: str, intent: StoredIntent, refund_id: str | None, seed: int) -> str:
    """The same in every delivery of the event, and in every run of the same seed."""
    text = "|".join(map(str, (seed, "evt", kind, intent.id, intent.declines, refund_id)))
    return f"evt_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
