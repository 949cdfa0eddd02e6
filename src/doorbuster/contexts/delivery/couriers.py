"""The rows of couriers: who is there, where, and how much they carry. Locked after the orders they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from doorbuster.contexts.delivery.model import TRACK_KEPT, Courier, Position, day_of
from doorbuster.contexts.delivery.store import place_of
from doorbuster.contexts.delivery.tables import couriers, track
from doorbuster.platform.sql.database import Tx


def find(tx: Tx, courier_id: int) -> Courier | None:
    row = tx.execute(sa.select(couriers).where(couriers.c.id == courier_id)).first()
    return None if row is None else courier_of(row)


def locked(tx: Tx, courier_id: int) -> Courier | None:
    """As they are, and stay until the end of the transaction."""
    row = tx.execute(sa.select(couriers).where(couriers.c.id == courier_id).with_for_update()).first()
    return None if row is None else courier_of(row)


def locked_all(tx: Tx, courier_ids: Iterable[int]) -> dict[int, Courier]:
    """In order of id, so that two who want several never wait in a circle."""
    ids, found = sorted(set(courier_ids)), dict[int, Courier]()
    for start in range(0, len(ids), 500):
        statement = sa.select(couriers).where(couriers.c.id.in_(ids[start : start + 500]))
        for row in tx.execute(statement.order_by(couriers.c.id).with_for_update()):
            found[row.id] = courier_of(row)
    return found


def put_online(tx: Tx, courier_id: int, now_ms: int) -> None:
    """Who comes back has been idle from now on; who is there stays as they are."""
    fresh = {
        "id": courier_id,
        "online": True,
        "position_ms": 0,
        "heard_ms": 0,
        "load": 0,
        "idle_since_ms": now_ms,
        "delivered_today": 0,
        "day": day_of(now_ms),
        "last_track": 0,
    }
    if not tx.insert_if_absent(couriers, fresh):
        tx.execute(
            sa.update(couriers)
            .where(couriers.c.id == courier_id, couriers.c.online.is_(False))
            .values(online=True, idle_since_ms=now_ms)
        )


def put_offline(tx: Tx, courier_id: int) -> bool:
    """Whether they had nothing to carry. Nobody's offers are looked at here."""
    gone = tx.execute(sa.update(couriers).where(couriers.c.id == courier_id, couriers.c.load == 0).values(online=False))
    return gone.rowcount == 1


def put_positions(tx: Tx, courier: Courier, positions: Sequence[Position], now_ms: int) -> None:
    """Positions of a locked courier, oldest first; the newest is where they are, unless a newer one is known."""
    last = tx.execute(
        sa.update(couriers)
        .where(couriers.c.id == courier.id)
        .values(last_track=couriers.c.last_track + len(positions), heard_ms=now_ms)
        .returning(couriers.c.last_track)
    ).scalar_one()
    first = last - len(positions) + 1
    rows = [
        {
            "courier_id": courier.id,
            "n": first + i,
            "at_ms": each.at_ms,
            "latitude": each.at.latitude,
            "longitude": each.at.longitude,
        }
        for i, each in enumerate(positions)
    ]
    tx.execute(sa.insert(track), rows)
    tx.execute(sa.delete(track).where(track.c.courier_id == courier.id, track.c.n <= last - TRACK_KEPT))
    newest = positions[-1]
    tx.execute(
        sa.update(couriers)
        .where(couriers.c.id == courier.id, couriers.c.position_ms <= newest.at_ms)
        .values(latitude=newest.at.latitude, longitude=newest.at.longitude, position_ms=newest.at_ms)
    )


def load_one(tx: Tx, courier_id: int, load_max: int) -> bool:
    """One task more, if they are online and carry fewer than `load_max`. Whether they do."""
    loaded = tx.execute(
        sa.update(couriers)
        .where(couriers.c.id == courier_id, couriers.c.online, couriers.c.load < load_max)
        .values(load=couriers.c.load + 1)
    )
    return loaded.rowcount == 1


def unload_one(tx: Tx, courier_id: int, now_ms: int, *, delivered: bool) -> None:
    """One task less."""
    today = day_of(now_ms)
    so_far = sa.case((couriers.c.day == today, couriers.c.delivered_today), else_=0)
    tx.execute(
        sa.update(couriers)
        .where(couriers.c.id == courier_id)
        .values(
            load=couriers.c.load - 1,
            idle_since_ms=now_ms,
            delivered_today=so_far + (1 if delivered else 0),
            day=today,
        )
    )


def courier_of(row: Any) -> Courier:
    return Courier(
        id=row.id,
        online=row.online,
        at=place_of(row.latitude, row.longitude),
        position_ms=row.position_ms,
        heard_ms=row.heard_ms,
        load=row.load,
        idle_since_ms=row.idle_since_ms,
        delivered_today=row.delivered_today,
        day=row.day,
    )
