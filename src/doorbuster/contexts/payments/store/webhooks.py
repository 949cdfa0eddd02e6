"""The inbox of callbacks."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from doorbuster.contexts.payments.store.tables import webhook_events
from doorbuster.contracts.payments import PaymentStatus
from doorbuster.platform.sql.database import Tx


class SeenEvent(Struct, frozen=True):
    """A callback as it is remembered."""

    provider: str
    event_id: str
    type: str
    payment_id: int
    created_ms: int
    received_ms: int


def is_known(tx: Tx, provider: str, event_id: str) -> bool:
    statement = sa.select(webhook_events.c.event_id).where(*_at(provider, event_id))
    return tx.execute(statement).first() is not None


def remember(tx: Tx, event: SeenEvent) -> bool:
    """Writes the callback unless it was handled before. Says whether it is new."""
    return tx.insert_if_absent(
        webhook_events,
        {
            "provider": event.provider,
            "event_id": event.event_id,
            "type": event.type,
            "payment_id": event.payment_id,
            "effect": None,
            "refund_id": None,
            "created_ms": event.created_ms,
            "received_ms": event.received_ms,
        },
    )


def note_effect(tx: Tx, event: SeenEvent, effect: PaymentStatus, refund_id: int | None) -> None:
    """Says what the callback did, in the transaction that did it."""
    noted = {"effect": effect, "refund_id": refund_id}
    tx.execute(sa.update(webhook_events).where(*_at(event.provider, event.event_id)).values(**noted))


def _at(provider: str, event_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return webhook_events.c.provider == provider, webhook_events.c.event_id == event_id
