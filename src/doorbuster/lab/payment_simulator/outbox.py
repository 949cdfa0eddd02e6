"""Webhook deliveries as rows: written with the event they tell of, gone once delivered."""

from __future__ import annotations

import sqlite3
from typing import Literal

from msgspec import Struct

from doorbuster.lab.payment_simulator import counters
from doorbuster.lab.payment_simulator.forgeries import FORGERIES
from doorbuster.lab.payment_simulator.misbehaviour import Dice
from doorbuster.lab.payment_simulator.stored import Protocol

Kind = Literal["genuine", "duplicate", "forged"]


class Delivery(Struct, frozen=True):
    """One webhook to send; ``tries`` is how often it failed before."""

    id: int
    kind: Kind
    payment_id: str
    url: str
    body: bytes
    forgery: str | None
    tries: int
    protocol: Protocol


class Announcement(Struct, frozen=True):
    """An event to tell of; ``intent_id`` keeps those of one intent in order."""

    event_id: str
    intent_id: str
    body: bytes
    protocol: Protocol


class Due(Struct, frozen=True):
    """What can be sent now, and when the next one becomes due (unix ms; None when none waits)."""

    deliveries: list[Delivery]
    next_due_ms: int | None


def announce(connection: sqlite3.Connection, event: Announcement, url: str, dice: Dice, now_ms: int) -> None:
    """Write the deliveries of ``event``: the genuine one, and whatever the dice add."""
    held = _is_held(connection, event, dice)
    due_ms = now_ms + _delay_ms(connection, event, dice, held=held)
    if dice.happens("forged", event.event_id):
        counters.add(connection, "misbehaved.forged")
        forgery = dice.one_of(FORGERIES, "forged", event.event_id)
        _insert(connection, "forged", event, url, forgery, now_ms, held=False)
    _insert(connection, "genuine", event, url, None, due_ms, held=held)
    if dice.happens("twice", event.event_id):
        counters.add(connection, "misbehaved.twice")
        gap_ms = dice.between(dice.settings.twice_gap_ms, "twice", event.event_id)
        _insert(connection, "duplicate", event, url, None, due_ms + gap_ms, held=held)


def _is_held(connection: sqlite3.Connection, event: Announcement, dice: Dice) -> bool:
    """Only the first event of a pair is held back, or two held events would keep their order."""
    if not dice.happens("out_of_order", event.event_id):
        return False
    query = "SELECT 1 FROM deliveries WHERE payment_id = ? AND held = 1 LIMIT 1"
    if connection.execute(query, (event.intent_id,)).fetchone() is not None:
        return False
    counters.add(connection, "misbehaved.out_of_order")
    return True


def _delay_ms(connection: sqlite3.Connection, event: Announcement, dice: Dice, *, held: bool) -> int:
    hold_ms = dice.settings.out_of_order_hold_ms if held else 0
    if not dice.happens("late", event.event_id):
        return hold_ms
    counters.add(connection, "misbehaved.late")
    return max(hold_ms, dice.between(dice.settings.late_ms, "late", event.event_id))


def _insert(
    connection: sqlite3.Connection,
    kind: Kind,
    event: Announcement,
    url: str,
    forgery: str | None,
    due_ms: int,
    *,
    held: bool,
) -> None:
    connection.execute(
        "INSERT INTO deliveries (kind, payment_id, url, body, forgery, due_ms, held, protocol)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (kind, event.intent_id, url, event.body, forgery, due_ms, held, event.protocol),
    )


def find_due(connection: sqlite3.Connection, now_ms: int, limit: int) -> Due:
    """The first ``limit`` pending deliveries that are due, oldest first."""
    rows = connection.execute(
        "SELECT id, kind, payment_id, url, body, forgery, tries, protocol FROM deliveries"
        " WHERE state = 'pending' AND due_ms <= ? ORDER BY due_ms, id LIMIT ?",
        (now_ms, limit),
    )
    deliveries = [Delivery(*row) for row in rows]
    later = "SELECT MIN(due_ms) FROM deliveries WHERE state = 'pending' AND due_ms > ?"
    return Due(deliveries, connection.execute(later, (now_ms,)).fetchone()[0])


def finish(connection: sqlite3.Connection, delivery: Delivery, outcome: str, now_ms: int) -> None:
    """The delivery is over: forget it, count it, and let go of what was held back for it."""
    connection.execute("DELETE FROM deliveries WHERE id = ?", (delivery.id,))
    counters.add(connection, f"deliveries.{delivery.kind}.{outcome}")
    if delivery.kind == "genuine":
        connection.execute(
            "UPDATE deliveries SET held = 0, due_ms = ? WHERE payment_id = ? AND held = 1 AND id < ?",
            (now_ms, delivery.payment_id, delivery.id),
        )


def postpone(connection: sqlite3.Connection, delivery: Delivery, due_ms: int) -> None:
    """A try failed: the next one is at ``due_ms``."""
    connection.execute(
        "UPDATE deliveries SET tries = tries + 1, due_ms = ?, held = 0 WHERE id = ?", (due_ms, delivery.id)
    )
    counters.add(connection, f"deliveries.{delivery.kind}.failed_tries")


def abandon(connection: sqlite3.Connection, delivery: Delivery) -> None:
    """The last try failed: keep the row as a dead letter, never send it again."""
    connection.execute(
        "UPDATE deliveries SET tries = tries + 1, state = 'abandoned', held = 0 WHERE id = ?", (delivery.id,)
    )
    counters.add(connection, f"deliveries.{delivery.kind}.failed_tries")
    counters.add(connection, f"deliveries.{delivery.kind}.abandoned")


def count_pending(connection: sqlite3.Connection) -> int:
    """How many deliveries are still to be made."""
    return connection.execute("SELECT COUNT(*) FROM deliveries WHERE state = 'pending'").fetchone()[0]
