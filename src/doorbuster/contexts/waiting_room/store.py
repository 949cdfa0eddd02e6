"""The waiting room's rows. Whoever changes a room or its tickets locks the room's row first, ascending by sale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from doorbuster.contexts.waiting_room.model import DRAW_AFTER_MS, Room, Seen, Ticket
from doorbuster.contexts.waiting_room.tables import rooms, tickets
from doorbuster.platform.sql.database import Tx

ROOMS_PAGE = 200
"""Rooms that one tick looks after, and as many whose sales it looks at. Where there are more, they take turns."""
GRACE_MS = 60_000
"""A room is looked after for so long behind its sale's close."""


# A literal, so that the partial index is known to apply.
_ADMITTED = tickets.c.state == sa.literal_column("'admitted'")


def _room(row: Any) -> Room:
    values: dict[str, Any] = {name: getattr(row, name) for name in Room.__struct_fields__}
    values |= {"enabled": bool(row.enabled), "seed": bytes(row.seed)}
    return Room(**values)


def _ticket(row: Any) -> Ticket:
    return Ticket(**{name: getattr(row, name) for name in Ticket.__struct_fields__})


def insert_room(tx: Tx, room: Room) -> None:
    """Unless there is one; then its seed, which was published, stays."""
    tx.insert_if_absent(rooms, {name: getattr(room, name) for name in Room.__struct_fields__})


def update_room(tx: Tx, room: Room, **changes: object) -> None:
    """Of a room that is locked. Its version grows."""
    note(tx, room, version=room.version + 1, **changes)


def note(tx: Tx, room: Room, **changes: object) -> None:
    """The same for what nobody who waits would see: the version stays."""
    tx.execute(sa.update(rooms).where(rooms.c.sale_id == room.sale_id).values(changes))


def find_rooms(tx: Tx, sale_ids: Sequence[int]) -> list[Room]:
    statement = sa.select(rooms).where(rooms.c.sale_id.in_(sale_ids)).order_by(rooms.c.sale_id)
    return [_room(row) for row in tx.execute(statement)]


def lock_rooms(tx: Tx, sale_ids: Sequence[int]) -> list[Room]:
    statement = sa.select(rooms).where(rooms.c.sale_id.in_(sale_ids)).order_by(rooms.c.sale_id).with_for_update()
    return [_room(row) for row in tx.execute(statement)]


def due_rooms(tx: Tx, now_ms: int, ended_ms: int, after: int) -> list[Seen]:
    """Those for which a tick has something to do by what their own rows say; a page by sale, behind `after`.

    Admissions that ended by `ended_ms` are to be marked. Rooms that open later, or are switched off before their draw,
    are not among them; one that is sold out with people waiting is, until it closes, and `has_work` says no.
    """
    to_draw = sa.and_(rooms.c.enabled, rooms.c.drawn_ms.is_(None), rooms.c.opens_ms <= now_ms - DRAW_AFTER_MS)
    to_let_in = sa.and_(rooms.c.places > rooms.c.released, sa.or_(rooms.c.flow > 0, rooms.c.closes_ms > now_ms))
    drawn = sa.and_(
        rooms.c.drawn_ms.is_not(None), sa.or_(to_let_in, rooms.c.used != rooms.c.used_counted, _ended(ended_ms))
    )
    return _page(tx, now_ms, ended_ms, after, sa.or_(to_draw, drawn))


def live_rooms(tx: Tx, now_ms: int, ended_ms: int, after: int) -> list[Seen]:
    """All whose sales are not over, to be compared with their sales; a page by sale, behind `after`."""
    return _page(tx, now_ms, ended_ms, after, sa.true())


def _page(tx: Tx, now_ms: int, ended_ms: int, after: int, where: sa.ColumnElement[bool]) -> list[Seen]:
    statement = (
        sa.select(rooms, _ended(ended_ms).label("ended"))
        .where(rooms.c.closes_ms > now_ms - GRACE_MS, rooms.c.sale_id > after, where)
        .order_by(rooms.c.sale_id)
        .limit(ROOMS_PAGE)
    )
    return [Seen(_room(row), bool(row.ended)) for row in tx.execute(statement)]


def _ended(ended_ms: int) -> sa.ColumnElement[bool]:
    return sa.exists().where(tickets.c.sale_id == rooms.c.sale_id, _ADMITTED, tickets.c.expires_ms <= ended_ms)


def find_ticket(tx: Tx, sale_id: int, customer_id: int) -> Ticket | None:
    row = tx.execute(
        sa.select(tickets).where(tickets.c.sale_id == sale_id, tickets.c.customer_id == customer_id)
    ).one_or_none()
    return None if row is None else _ticket(row)


_TICKET = f"SELECT {', '.join(Ticket.__struct_fields__)} FROM tickets"  # noqa: S608 - our own columns
_TICKET_OF = f"{_TICKET} WHERE sale_id = ? AND customer_id = ?"
_TICKETS_OF = (
    "SELECT t.* FROM unnest($1::bigint[], $2::bigint[]) AS w(sale_id, customer_id) "  # noqa: S608 - our own columns
    f"CROSS JOIN LATERAL ({_TICKET} WHERE sale_id = w.sale_id AND customer_id = w.customer_id LIMIT 1) AS t"
)


def tickets_of(tx: Tx, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Ticket]:
    """By (sale, customer)."""
    if tx.dialect == "sqlite":
        rows = [row for pair in pairs for row in tx.rows(_TICKET_OF, *pair)]
    else:
        rows = tx.rows(_TICKETS_OF, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    found = [Ticket(*row) for row in rows]
    return {(ticket.sale_id, ticket.customer_id): ticket for ticket in found}


def insert_tickets(tx: Tx, new: Sequence[Ticket]) -> None:
    """All are waiting."""
    values = [(t.ticket_id, t.sale_id, t.customer_id, t.number, t.place, t.arrived_ms) for t in new]
    columns = "tickets (ticket_id, sale_id, customer_id, number, place, arrived_ms, state)"
    if tx.dialect == "sqlite":
        tx.run_many(f"INSERT INTO {columns} VALUES (?, ?, ?, ?, ?, ?, 'waiting')", values)  # noqa: S608 - a constant
    elif values:
        tx.rows(
            f"INSERT INTO {columns} SELECT *, 'waiting' FROM unnest("  # noqa: S608 - a constant
            "$1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])",
            *(list(column) for column in zip(*values, strict=True)),
        )


def count_arrivals(tx: Tx, sale_id: int, arrivals: int, places: int) -> None:
    """Of a room that is locked. Its version stays: nobody else's place has changed."""
    tx.execute(sa.update(rooms).where(rooms.c.sale_id == sale_id).values(arrivals=arrivals, places=places))


def admit(tx: Tx, sale_id: int, first: int, last: int, times: tuple[int, int]) -> int:
    """Lets places `first` to `last` in; `times`: now, and when their admissions end."""
    statement = (
        sa.update(tickets)
        .where(tickets.c.sale_id == sale_id, tickets.c.place.between(first, last), tickets.c.state == "waiting")
        .values(state="admitted", admitted_ms=times[0], expires_ms=times[1])
    )
    return tx.execute(statement).rowcount


def expire(tx: Tx, sale_id: int, before_ms: int) -> int:
    statement = (
        sa.update(tickets)
        .where(tickets.c.sale_id == sale_id, _ADMITTED, tickets.c.expires_ms <= before_ms)
        .values(state="expired")
    )
    return tx.execute(statement).rowcount


def count_admitted(tx: Tx, sale_id: int) -> int:
    statement = sa.select(sa.func.count()).select_from(tickets).where(tickets.c.sale_id == sale_id, _ADMITTED)
    return tx.execute(statement).scalar_one()


def use(tx: Tx, sale_id: int, ticket_ids: Sequence[int]) -> int:
    """Marks admissions as used, also those that expired before we heard of the claim. Once each."""
    statement = (
        sa.update(tickets)
        .where(
            tickets.c.ticket_id.in_(ticket_ids),
            tickets.c.sale_id == sale_id,
            tickets.c.state.in_(("admitted", "expired")),
        )
        .values(state="used")
    )
    return tx.execute(statement).rowcount


def page_of_places(tx: Tx, sale_id: int, after: int, limit: int) -> list[tuple[int, int]]:
    """(place, ticket), ascending."""
    statement = (
        sa.select(tickets.c.place, tickets.c.ticket_id)
        .where(tickets.c.sale_id == sale_id, tickets.c.place > after)
        .order_by(tickets.c.place)
        .limit(limit)
    )
    return [(row.place, row.ticket_id) for row in tx.execute(statement)]
