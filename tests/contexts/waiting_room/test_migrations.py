"""A room of an older version goes on after the upgrade: its estimates begin at the flow that was measured."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from conftest import NOW_MS, OpenDatabase
from doorbuster.contexts.waiting_room.wiring import HISTORY
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.sql.migrations import History, migrate

OLD = {
    **{"sale_id": 1, "merchant_id": 1, "enabled": True, "title": "t", "opens_ms": 1, "closes_ms": 2, "seed": b"x" * 32},
    **{"version": 1, "arrivals": 0, "places": 0, "lot": 0, "released": 0, "used": 0, "used_counted": 0, "expired": 0},
    **{"ticked_ms": 0, "rate": 5, "flow": 7, "used_flow": 0, "credit": 0, "releaser": "", "lease_until_ms": 0},
}


async def test_rooms_that_are_there_already(open_database: OpenDatabase) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "revisions", lambda _self: ["0001_first"])
        database = await open_database("waiting_room", "doorbuster.contexts.waiting_room.migrations")

    def put(tx: Tx) -> None:
        tx.execute(
            sa.text(f"INSERT INTO rooms ({', '.join(OLD)}) VALUES ({', '.join(f':{name}' for name in OLD)})"), OLD
        )

    await database.write(put)
    await migrate(database, HISTORY, NOW_MS)
    assert await database.read(lambda tx: tx.rows("SELECT flow, flow_high, flow_low FROM rooms")) == [(7, 7, 7)]
