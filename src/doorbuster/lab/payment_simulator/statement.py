"""The statement: every capture and refund in the order in which it became durable."""

from __future__ import annotations

import base64
import binascii
import re
import sqlite3

from msgspec import Struct

from doorbuster.lab.payment_simulator.errors import InvalidCursorError
from doorbuster.lab.payment_simulator.messages import StatementItem, StatementPage, rfc3339

_CURSOR_BYTES_MAX = 40
_POSITION = re.compile(rb"after:([0-9]{1,18})")


def encode_cursor(position: int) -> str:
    """Opaque to the reader, so that what it holds may change."""
    return base64.urlsafe_b64encode(b"after:%d" % position).decode()


def decode_cursor(cursor: str | None) -> int:
    """The position behind ``cursor``; None is the beginning.

    Raises:
        InvalidCursorError: it was not made by ``encode_cursor``.
    """
    if cursor is None:
        return 0
    try:
        text = base64.b64decode(cursor[:_CURSOR_BYTES_MAX], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidCursorError from error
    found = _POSITION.fullmatch(text)
    if found is None:
        raise InvalidCursorError
    return int(found[1])


class Bounds(Struct, frozen=True):
    """Which movements: from ``from_ms`` up to, not including, ``until_ms``."""

    from_ms: int = 0
    until_ms: int = 2**62


def read_page(connection: sqlite3.Connection, position: int, limit: int, bounds: Bounds) -> StatementPage:
    """At most ``limit`` movements of the simulator's own protocol after ``position``."""
    rows = connection.execute(
        "SELECT seq, kind, payment_id, order_id, refund_id, amount, currency, at_ms FROM statement"
        " WHERE seq > ? AND protocol = 'simulator' AND at_ms >= ? AND at_ms < ? ORDER BY seq LIMIT ?",
        (position, bounds.from_ms, bounds.until_ms, limit + 1),
    ).fetchall()
    items = [
        StatementItem(kind, payment_id, order_id, refund_id, amount, currency, rfc3339(at_ms))
        for _, kind, payment_id, order_id, refund_id, amount, currency, at_ms in rows[:limit]
    ]
    return StatementPage(items, encode_cursor(rows[limit - 1][0]) if len(rows) > limit else None)
