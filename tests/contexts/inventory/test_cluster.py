"""redis_lua and redis_lock on a Redis Cluster: the same units, and the same when the master of their slot is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from contexts.inventory.conftest import MERCHANT, OpenInventory
from doorbuster.contexts.inventory.deduction import scripted
from doorbuster.contexts.inventory.tables import hold_lines
from doorbuster.contracts.inventory import Hold, HoldRequest, OutOfStock, SkuUnits
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.redis import Redis
from doorbuster.platform.sql.database import Database
from redis_cluster import Cluster

UNITS = 12


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.stop()


def wants(order_id: int) -> HoldRequest:
    return HoldRequest(order_id, (SkuUnits(1, 1),), 1_790_000_900_000)


@pytest.mark.parametrize("strategy", ["redis_lua", "redis_lock"])
async def test_as_many_as_there_are_also_without_the_master_of_the_slot(
    open_inventory: OpenInventory, database: Database, own_cluster: Cluster, clock: ManualClock, strategy: str
):
    own_cluster.empty()
    inventory = await open_inventory(strategy, own_cluster.url)
    await inventory.service.receive_many(MERCHANT, "first", [SkuUnits(1, UNITS)])
    if inventory.scripted is not None:
        assert await inventory.scripted.reconcile() == 1
    first = await inventory.service.hold_many([wants(order) for order in range(1, 6)])
    assert all(isinstance(outcome, Hold) for outcome in first)
    redis = Redis(own_cluster.url)
    if inventory.scripted is not None:
        assert await redis.command("HGET", scripted.STOCK, 1) == str(UNITS - 5), "the script decided"
    else:
        assert sum(await redis.everywhere("DBSIZE")) >= 1, "there are fences"
    with own_cluster.killed(own_cluster.master_of(scripted.STOCK), own_cluster.master_of("{1}")):
        outcomes = await inventory.service.hold_many([wants(order) for order in range(100, 130)])
        assert sum(isinstance(outcome, Hold) for outcome in outcomes) == UNITS - 5
        assert all(isinstance(outcome, Hold | OutOfStock) for outcome in outcomes)
    lines = await database.read(lambda tx: tx.execute(sa.select(hold_lines.c.order_id)).scalars().all())
    assert len(lines) == UNITS
    assert [check for check in await inventory.service.audit() if check.verdict != "holds"] == []
    await redis.close()
