"""The waiting room proves its own books: places are unique and without gaps, nobody is let in who was not released."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.waiting_room.tables import rooms, tickets
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.sql.database import Tx

_of = tickets.c.sale_id == rooms.c.sale_id


def _count(*where: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((sa.and_(sa.true(), *where), 1), else_=0)), 0)


_counted = (
    sa.select(
        tickets.c.sale_id,
        _count().label("people"),
        _count(tickets.c.place.is_not(None)).label("placed"),
        sa.func.count(sa.distinct(tickets.c.place)).label("distinct_places"),
        sa.func.coalesce(sa.func.max(tickets.c.place), 0).label("last_place"),
        _count(tickets.c.state != "waiting").label("let_in"),
        _count(tickets.c.state == "used").label("used"),
        _count(tickets.c.state == "used", tickets.c.admitted_ms.is_(None)).label("used_unadmitted"),
    )
    .group_by(tickets.c.sale_id)
    .subquery()
)
_books = (
    sa.select(rooms.c.arrivals, rooms.c.places, rooms.c.released, rooms.c.used.label("told_used"), _counted)
    .select_from(rooms.join(_counted, _counted.c.sale_id == rooms.c.sale_id))
    .order_by(rooms.c.sale_id)
)


def checks(tx: Tx) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    books = tx.execute(_books).all()
    jumped = tx.execute(
        sa.select(tickets.c.sale_id, tickets.c.place)
        .select_from(tickets.join(rooms, _of))
        .where(tickets.c.state != "waiting", sa.or_(tickets.c.place.is_(None), tickets.c.place > rooms.c.released))
        .limit(BREACHES_SHOWN)
    ).all()
    places = [
        f"sale {row.sale_id}: {row.people} tickets of {row.arrivals} arrivals, {row.distinct_places} places up to "
        f"{row.last_place} of {row.places}"
        for row in books
        if row.people != row.arrivals or not row.placed == row.distinct_places == row.last_place == row.places
    ]
    released = [
        f"sale {row.sale_id}: {row.let_in} let in, {row.released} released"
        for row in books
        if row.let_in != row.released
    ]
    released += [f"sale {row.sale_id}: place {row.place} was let in out of turn" for row in jumped]
    used = [
        f"sale {row.sale_id}: {row.used} tickets used, {row.told_used} counted, {row.used_unadmitted} never admitted"
        for row in books
        if row.used != row.told_used or row.used_unadmitted
    ]
    people, let_in = sum(row.people for row in books), sum(row.let_in for row in books)
    return [
        _check("places of waiting rooms are unique and without gaps", f"{people} tickets, {len(books)} rooms", places),
        _check("let in = released, in turn", f"{let_in} let in", released),
        _check("admissions used ⊆ given", f"{sum(row.used for row in books)} used", used),
    ]


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
