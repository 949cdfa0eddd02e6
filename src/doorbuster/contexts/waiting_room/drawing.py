"""The draw as the database carries it out. What it must come to is said by `model.drawn_order`.

On SQLite that function runs in the writer's thread. A transaction on PostgreSQL runs on the event loop, so there the
server draws: the same HMAC, spelled out, with nobody's ticket leaving it.
"""

from __future__ import annotations

from doorbuster.contexts.waiting_room.model import Room, drawn_order
from doorbuster.platform.sql.database import Tx

_BLOCK, _INNER, _OUTER = 64, 0x36, 0x5C
"""Of HMAC-SHA256 (RFC 2104)."""

_ARRIVED = "SELECT ticket_id, number, arrived_ms FROM tickets WHERE sale_id = ?"
_PLACE = "UPDATE tickets SET place = ? WHERE ticket_id = ?"
# Lots by what they draw, behind them the others by number.
_DRAW = """
UPDATE tickets t SET place = d.place FROM (
    SELECT ticket_id, row_number() OVER (
        ORDER BY arrived_ms >= $2,
            CASE WHEN arrived_ms < $2 THEN sha256($4 || sha256($3 || convert_to(ticket_id::text, 'UTF8'))) END,
            CASE WHEN arrived_ms >= $2 THEN number END,
            ticket_id
    ) AS place FROM tickets WHERE sale_id = $1
) d WHERE t.ticket_id = d.ticket_id
"""
_COUNT = "SELECT count(*), count(*) FILTER (WHERE arrived_ms < $2) FROM tickets WHERE sale_id = $1"


def draw(tx: Tx, room: Room) -> tuple[int, int]:
    """Gives everybody in the room, which is locked, their place. How many there are, and how many by lot."""
    if tx.dialect == "sqlite":
        arrived = [(row[0], row[1], row[2]) for row in tx.rows(_ARRIVED, room.sale_id)]
        ordered, lot = drawn_order(room.seed, arrived, room.opens_ms)
        tx.run_many(_PLACE, list(enumerate(ordered, 1)))
        return len(ordered), lot
    tx.rows(_DRAW, room.sale_id, room.opens_ms, _padded(room.seed, _INNER), _padded(room.seed, _OUTER))
    ((places, lot),) = tx.rows(_COUNT, room.sale_id, room.opens_ms)
    return places, lot


def _padded(key: bytes, pad: int) -> bytes:
    assert len(key) <= _BLOCK, "a longer key would have to be hashed first"
    return bytes(byte ^ pad for byte in key.ljust(_BLOCK, b"\0"))
