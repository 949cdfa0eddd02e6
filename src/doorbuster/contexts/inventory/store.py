"""The inventory's rows apart from holds (`holding`, `settling`): warehouses, receipts, allotments, what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from doorbuster.contexts.inventory.model import (
    DEFAULT_CODE,
    DEFAULT_NAME,
    WAREHOUSES_MAX,
    Balance,
    Entry,
    Movement,
    Stock,
    Warehouse,
)
from doorbuster.contexts.inventory.posting import post, shelves
from doorbuster.contexts.inventory.tables import (
    allotment_lines,
    allotments,
    hold_lines,
    holds,
    ledger,
    stock,
    warehouses,
)
from doorbuster.contracts.audit import AllotmentFact, HoldFact
from doorbuster.contracts.inventory import StockInvalid, TooManyWarehouses, WarehouseCodeTaken, WarehouseNotFound
from doorbuster.contracts.orders import PaidLine
from doorbuster.platform.sql.database import Tx


def _warehouse(row: Any) -> Warehouse:
    return Warehouse(row.id, row.merchant_id, row.code, row.name, row.priority, row.created_ms)


def insert_warehouse(tx: Tx, warehouse: Warehouse) -> Warehouse:
    """Raises WarehouseCodeTaken, TooManyWarehouses."""
    if tx.dialect == "postgres":  # one at a time per merchant, so that the count holds
        tx.rows("SELECT pg_advisory_xact_lock($1)", warehouse.merchant_id)
    values = {name: getattr(warehouse, name) for name in warehouse.__struct_fields__}
    if not tx.insert_if_absent(warehouses, values):
        raise WarehouseCodeTaken
    mine = sa.select(sa.func.count()).where(warehouses.c.merchant_id == warehouse.merchant_id)
    if tx.execute(mine.select_from(warehouses)).scalar_one() > WAREHOUSES_MAX:
        raise TooManyWarehouses(at_most=WAREHOUSES_MAX)
    return warehouse


def list_warehouses(tx: Tx, merchant_id: int, after: int, limit: int) -> list[Warehouse]:
    statement = sa.select(warehouses).where(warehouses.c.merchant_id == merchant_id, warehouses.c.id > after)
    return [_warehouse(row) for row in tx.execute(statement.order_by(warehouses.c.id).limit(limit))]


def default_warehouse(tx: Tx, merchant_id: int, new_id: int, now_ms: int) -> Warehouse:
    """The merchant's own first, made when it is not there."""
    made = Warehouse(new_id, merchant_id, DEFAULT_CODE, DEFAULT_NAME, 0, now_ms)
    tx.insert_if_absent(warehouses, {name: getattr(made, name) for name in made.__struct_fields__})
    at = sa.and_(warehouses.c.merchant_id == merchant_id, warehouses.c.code == DEFAULT_CODE)
    return _warehouse(tx.execute(sa.select(warehouses).where(at)).one())


def warehouse_of(tx: Tx, warehouse_id: int, merchant_id: int) -> Warehouse:
    """Raises WarehouseNotFound, also for another merchant's."""
    at = sa.and_(warehouses.c.id == warehouse_id, warehouses.c.merchant_id == merchant_id)
    row = tx.execute(sa.select(warehouses).where(at)).first()
    if row is None:
        raise WarehouseNotFound
    return _warehouse(row)


def make_shelves(tx: Tx, warehouse: Warehouse, sku_ids: Sequence[int]) -> None:
    tx.insert_all_if_absent(
        stock,
        [
            {"sku_id": sku_id, "warehouse_id": warehouse.id, "priority": warehouse.priority}
            for sku_id in sorted(set(sku_ids))
        ],
    )


def allot(tx: Tx, sale_id: int, sku_id: int, units: int, now_ms: int) -> None:
    """Raises OutOfStock (nothing is written then), StockInvalid."""
    row = {"sale_id": sale_id, "sku_id": sku_id, "units": units, "created_ms": now_ms}
    if not tx.insert_if_absent(allotments, row):
        there = tx.execute(sa.select(allotments).where(allotments.c.sale_id == sale_id)).one()
        if (there.sku_id, there.units) != (sku_id, units):
            raise StockInvalid("this sale has another SKU or another number of units allotted")
        return
    lines = Stock(shelves(tx, [sku_id])).take({sku_id: units})
    tx.execute(
        sa.insert(allotment_lines),
        [{"sale_id": sale_id, "warehouse_id": line.warehouse_id, "units": line.quantity} for line in lines],
    )
    post(
        tx,
        [Movement(sku_id, line.warehouse_id, "allot", line.quantity, "sale", sale_id, 0, sale_id) for line in lines],
        now_ms,
    )


def due_holds(tx: Tx, now_ms: int, limit: int) -> list[int]:
    statement = (
        sa.select(holds.c.order_id)
        # A literal, so that the partial index is known to apply.
        .where(holds.c.status == sa.literal_column("'held'"), holds.c.until_ms <= now_ms)
        .order_by(holds.c.until_ms)
        .limit(limit)
    )
    return list(tx.execute(statement).scalars())


_EXTEND_SQLITE = (
    "UPDATE holds SET until_ms = max(until_ms, ?) WHERE order_id = ? AND status = 'held' RETURNING order_id"
)
# Locked first, then changed: a single statement would miss a row that somebody else changed while it waited.
_LOCK_HELD_POSTGRES = (
    "SELECT h.order_id, h.until_ms FROM unnest($1::bigint[]) AS w(order_id) CROSS JOIN LATERAL "
    "(SELECT order_id, until_ms FROM holds WHERE order_id = w.order_id AND status = 'held' LIMIT 1 FOR UPDATE) AS h"
)
_EXTEND_POSTGRES = (
    "UPDATE holds h SET until_ms = n.until_ms FROM unnest($1::bigint[], $2::bigint[]) AS n(order_id, until_ms) "
    "CROSS JOIN LATERAL (SELECT k.ctid FROM holds k WHERE k.order_id = n.order_id LIMIT 1) AS l WHERE h.ctid = l.ctid"
)


def extend(tx: Tx, until_ms: Mapping[int, int]) -> set[int]:
    """Those of these orders that are held, and last at least so long now. Locked in ascending order."""
    wanted = sorted(until_ms.items())
    if tx.dialect == "sqlite":
        return {row[0] for order_id, until in wanted for row in tx.rows(_EXTEND_SQLITE, until, order_id)}
    held = {row[0]: row[1] for row in tx.rows(_LOCK_HELD_POSTGRES, [order_id for order_id, _ in wanted])}
    longer = [(order_id, until) for order_id, until in wanted if order_id in held and held[order_id] < until]
    if longer:
        tx.rows(_EXTEND_POSTGRES, *map(list, zip(*longer, strict=True)))
    return set(held)


def available(tx: Tx, sku_ids: Sequence[int]) -> dict[int, int]:
    sums = dict.fromkeys(sku_ids, 0)
    if tx.dialect == "sqlite":
        for sku_id in sums:
            ((sums[sku_id],),) = tx.rows(
                "SELECT coalesce(sum(on_hand - held - allotted), 0) FROM stock WHERE sku_id = ?", sku_id
            )
        return sums
    rows = tx.rows(
        "SELECT sku_id, sum(on_hand - held - allotted)::bigint FROM stock WHERE sku_id = ANY($1::bigint[]) "
        "GROUP BY sku_id",
        list(sums),
    )
    return sums | {row[0]: row[1] for row in rows}


def balances(tx: Tx, sku_id: int, merchant_id: int) -> list[Balance]:
    columns = [stock.c[name] for name in Balance.__struct_fields__]
    statement = sa.select(*columns).join(warehouses, warehouses.c.id == stock.c.warehouse_id)
    mine = sa.and_(stock.c.sku_id == sku_id, warehouses.c.merchant_id == merchant_id)
    return [Balance(*row) for row in tx.execute(statement.where(mine).order_by(stock.c.warehouse_id).limit(1000))]


def entries(tx: Tx, sku_id: int, before: int, limit: int) -> list[Entry]:
    """Newest first."""
    columns = [ledger.c[name] for name in Entry.__struct_fields__]
    statement = sa.select(*columns).where(ledger.c.sku_id == sku_id, ledger.c.id < before)
    return [Entry(*row) for row in tx.execute(statement.order_by(ledger.c.id.desc()).limit(limit))]


def hold_facts(tx: Tx, condition: sa.ColumnElement[bool], limit: int) -> list[HoldFact]:
    """Ascending by order; lines per SKU, less what came back."""
    heads = tx.execute(
        sa.select(holds.c.order_id, holds.c.status).where(condition).order_by(holds.c.order_id).limit(limit)
    ).all()
    lines: dict[int, list[PaidLine]] = {row.order_id: [] for row in heads}
    summed = (
        sa.select(
            hold_lines.c.order_id,
            hold_lines.c.sku_id,
            sa.func.sum(hold_lines.c.quantity - hold_lines.c.returned).label("units"),
        )
        .where(hold_lines.c.order_id.in_(list(lines)))
        .group_by(hold_lines.c.order_id, hold_lines.c.sku_id)
        .order_by(hold_lines.c.order_id, hold_lines.c.sku_id)
    )
    for row in tx.execute(summed):
        lines[row.order_id].append(PaidLine(row.sku_id, int(row.units)))
    return [HoldFact(row.order_id, row.status, tuple(lines[row.order_id])) for row in heads]


def hold_facts_after(tx: Tx, after: int, limit: int) -> list[HoldFact]:
    return hold_facts(tx, holds.c.order_id > after, limit)


def hold_facts_of(tx: Tx, order_ids: Sequence[int]) -> list[HoldFact]:
    return hold_facts(tx, holds.c.order_id.in_(list(order_ids)), len(order_ids) or 1)


def allotment_facts_of(tx: Tx, sale_ids: Sequence[int]) -> list[AllotmentFact]:
    total = [sa.func.sum(allotment_lines.c[name]) for name in ("sold", "returned")]
    statement = (
        sa.select(allotments.c.sale_id, allotments.c.sku_id, allotments.c.units, *total)
        .join(allotment_lines, allotment_lines.c.sale_id == allotments.c.sale_id)
        .where(allotments.c.sale_id.in_(list(sale_ids)))
        .group_by(allotments.c.sale_id, allotments.c.sku_id, allotments.c.units)
        .order_by(allotments.c.sale_id)
    )
    return [AllotmentFact(*(int(value) for value in row)) for row in tx.execute(statement)]


def sku_page(tx: Tx, after: int, limit: int) -> list[int]:
    """SKUs there are shelves for, ascending."""
    statement = sa.select(stock.c.sku_id).distinct().where(stock.c.sku_id > after)
    return list(tx.execute(statement.order_by(stock.c.sku_id).limit(limit)).scalars())
