"""The inventory proves its own books: balances are what the ledger adds up to, and what is promised is there."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.inventory.model import COLUMNS, EFFECTS
from doorbuster.contexts.inventory.tables import allotment_lines, allotments, hold_lines, holds, ledger, stock
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.sql.database import Tx

FORGOTTEN_MS = 15 * 60_000


def checks(tx: Tx, now_ms: int) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    return [_ledger(tx), _held(tx), _allotted(tx), _expired(tx, now_ms)]


def _effect(at: int) -> sa.ColumnElement[int]:
    """What a ledger entry does to the balance at this place of COLUMNS."""
    cases = [
        (
            sa.and_(ledger.c.kind == kind, ledger.c.sale_id != 0 if of_sale else ledger.c.sale_id == 0),
            delta[at] * ledger.c.quantity,
        )
        for (kind, of_sale), delta in EFFECTS.items()
        if delta[at]
    ]
    return sa.func.coalesce(sa.func.sum(sa.case(*cases, else_=0)), 0)


def _ledger(tx: Tx) -> Check:
    sums = (
        sa.select(ledger.c.sku_id, ledger.c.warehouse_id, *(_effect(at).label(c) for at, c in enumerate(COLUMNS)))
        .group_by(ledger.c.sku_id, ledger.c.warehouse_id)
        .subquery()
    )
    same = sa.and_(sums.c.sku_id == stock.c.sku_id, sums.c.warehouse_id == stock.c.warehouse_id)
    differs = sa.or_(*(stock.c[name] != sa.func.coalesce(sums.c[name], 0) for name in COLUMNS))
    wrong = tx.execute(
        sa.select(stock.c.sku_id, stock.c.warehouse_id)
        .select_from(stock.outerjoin(sums, same))
        .where(differs)
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"SKU {row.sku_id} in warehouse {row.warehouse_id}" for row in wrong]
    lost = tx.execute(
        sa.select(sums.c.sku_id).select_from(sums.outerjoin(stock, same)).where(stock.c.sku_id.is_(None)).limit(5)
    )
    breaches += [f"SKU {row.sku_id} has movements, but no stock" for row in lost]
    count = tx.execute(sa.select(sa.func.count()).select_from(stock)).scalar_one()
    return _check("stock = sum of its ledger", f"{count} SKUs in warehouses", breaches)


def _held(tx: Tx) -> Check:
    lines = (
        sa.select(hold_lines.c.sku_id, hold_lines.c.warehouse_id, sa.func.sum(hold_lines.c.quantity).label("units"))
        .join(holds, holds.c.order_id == hold_lines.c.order_id)
        .where(holds.c.status == "held")
        .group_by(hold_lines.c.sku_id, hold_lines.c.warehouse_id)
        .subquery()
    )
    same = sa.and_(lines.c.sku_id == stock.c.sku_id, lines.c.warehouse_id == stock.c.warehouse_id)
    wrong = tx.execute(
        sa.select(stock.c.sku_id, stock.c.held, lines.c.units)
        .select_from(stock.outerjoin(lines, same))
        .where(stock.c.held != sa.func.coalesce(lines.c.units, 0))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"SKU {row.sku_id}: {row.held} held, {row.units or 0} in holds" for row in wrong]
    return _check("units held = holds", "per SKU and warehouse", breaches)


def _allotted(tx: Tx) -> Check:
    left = allotment_lines.c.units - allotment_lines.c.sold - allotment_lines.c.returned
    lines = (
        sa.select(allotments.c.sku_id, allotment_lines.c.warehouse_id, sa.func.sum(left).label("units"))
        .join(allotments, allotments.c.sale_id == allotment_lines.c.sale_id)
        .group_by(allotments.c.sku_id, allotment_lines.c.warehouse_id)
        .subquery()
    )
    same = sa.and_(lines.c.sku_id == stock.c.sku_id, lines.c.warehouse_id == stock.c.warehouse_id)
    wrong = tx.execute(
        sa.select(stock.c.sku_id, stock.c.allotted, lines.c.units)
        .select_from(stock.outerjoin(lines, same))
        .where(stock.c.allotted != sa.func.coalesce(lines.c.units, 0))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"SKU {row.sku_id}: {row.allotted} allotted, {row.units or 0} in allotments" for row in wrong]
    return _check("units allotted = allotments", "per SKU and warehouse", breaches)


def _expired(tx: Tx, now_ms: int) -> Check:
    over = sa.and_(holds.c.status == sa.literal_column("'held'"), holds.c.until_ms < now_ms - FORGOTTEN_MS)
    late = tx.execute(sa.select(holds.c.order_id).where(over).limit(BREACHES_SHOWN)).scalars()
    return _check("holds end in time", "none is far beyond its time", [f"order {order_id}" for order_id in late])


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
