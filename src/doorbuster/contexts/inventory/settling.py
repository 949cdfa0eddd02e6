"""What becomes of holds: released, expired, sold, taken back. Batches; holds are locked first, then allotments, then
shelves, each in ascending order. Every effect is conditional on the row it finds, so it may come twice or out of order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from msgspec import Struct

from doorbuster.contexts.inventory.model import EndedBy, Movement, Stock, moved, wanted
from doorbuster.contexts.inventory.posting import post, shelves
from doorbuster.contexts.inventory.tables import allotment_lines, allotments, hold_lines, holds
from doorbuster.contracts.flash_sale import AllotmentReturned
from doorbuster.contracts.inventory import HeldLine, HoldLost, OutOfStock, SkuUnits
from doorbuster.contracts.orders import GoodsReturned, OrderCancelled, OrderPaid
from doorbuster.platform.sql.database import Tx


class TooEarly(Exception):
    """What this event speaks of has not arrived yet. The bus sets it aside and brings it again."""


class LockedLine(Struct):
    warehouse_id: int
    sku_id: int
    quantity: int
    returned: int

    @property
    def left(self) -> HeldLine:
        return HeldLine(self.warehouse_id, self.sku_id, self.quantity - self.returned)


class Locked(Struct):
    """A hold under our lock."""

    order_id: int
    sale_id: int
    status: str
    ended_by: str
    turn: int
    lines: list[LockedLine]

    def left(self) -> list[HeldLine]:
        return [line.left for line in self.lines if line.quantity > line.returned]


def lock_holds(tx: Tx, order_ids: Iterable[int], due_by_ms: int | None = None) -> dict[int, Locked]:
    """Those that exist (and are held and due), ascending."""
    statement = sa.select(holds).where(holds.c.order_id.in_(sorted(set(order_ids))))
    if due_by_ms is not None:
        statement = statement.where(holds.c.status == "held", holds.c.until_ms <= due_by_ms)
    rows = tx.execute(statement.order_by(holds.c.order_id).with_for_update()).all()
    found = {
        row.order_id: Locked(row.order_id, row.sale_id, row.status, row.ended_by, row.turn, list[LockedLine]())
        for row in rows
    }
    lines = sa.select(hold_lines).where(hold_lines.c.order_id.in_(list(found)))
    for row in tx.execute(lines.order_by(hold_lines.c.order_id, hold_lines.c.sku_id, hold_lines.c.warehouse_id)):
        found[row.order_id].lines.append(LockedLine(row.warehouse_id, row.sku_id, row.quantity, row.returned))
    return found


def put_tombstones(tx: Tx, order_ids: Mapping[int, int], ended_by: EndedBy, now_ms: int) -> None:
    """Makes sure that there is a row for each of these orders (with the sale of each, 0: none)."""
    tx.insert_all_if_absent(
        holds,
        [
            {
                "order_id": order_id,
                "sale_id": sale_id,
                "status": "released",
                "ended_by": ended_by,
                "until_ms": 0,
                "turn": 0,
                "created_ms": now_ms,
            }
            for order_id, sale_id in sorted(order_ids.items())
        ],
    )


def _set(tx: Tx, order_ids: Sequence[int], status: str, ended_by: EndedBy) -> None:
    if order_ids:
        tx.execute(sa.update(holds).where(holds.c.order_id.in_(order_ids)).values(status=status, ended_by=ended_by))


def release(
    tx: Tx, order_ids: Sequence[int], ended_by: EndedBy, now_ms: int, due_by_ms: int | None = None
) -> list[int]:
    """Lets go of those that are held (and due); returns them."""
    held = [hold for hold in lock_holds(tx, order_ids, due_by_ms).values() if hold.status == "held"]
    let_go = [movement for hold in held for movement in moved("release", hold.order_id, hold.left(), hold.turn)]
    shelves(tx, sorted({movement.sku_id for movement in let_go}))
    post(tx, let_go, now_ms)
    _set(tx, [hold.order_id for hold in held], "released", ended_by)
    return [hold.order_id for hold in held]


# --- paid -----------------------------------------------------------------------------------------------------------


def sell(tx: Tx, events: Sequence[OrderPaid], now_ms: int) -> list[HoldLost]:
    """What is held is sold; what had been let go is taken again, or is lost. Raises TooEarly."""
    paid = {event.order_id: event for event in events}
    put_tombstones(tx, {event.order_id: event.sale_id or 0 for event in paid.values()}, "missing", now_ms)
    locked = lock_holds(tx, paid)
    of_sales = [
        hold for hold in locked.values() if paid[hold.order_id].sale_id is not None and hold.ended_by == "missing"
    ]
    held = [hold for hold in locked.values() if hold.status == "held"]
    again = [
        hold
        for hold in locked.values()
        if paid[hold.order_id].sale_id is None and hold.ended_by in ("expired", "released", "missing")
    ]
    from_allotments = _take_from_allotments(tx, of_sales, paid)
    on_shelves = shelves(
        tx,
        sorted(
            {line.sku_id for hold in held for line in hold.lines}
            | {line.sku_id for hold in again + of_sales for line in paid[hold.order_id].lines}
        ),
    )
    movements = [*from_allotments]
    for hold in held:
        movements += moved("sell", hold.order_id, hold.left(), hold.turn)
    _set(tx, [hold.order_id for hold in held], "sold", "")
    _sold_at_once(tx, from_allotments)
    taken, lost = _take_again(tx, again, paid, Stock(on_shelves))
    post(tx, movements + taken, now_ms)
    return lost


def _take_again(
    tx: Tx, again: Sequence[Locked], paid: Mapping[int, OrderPaid], stock: Stock
) -> tuple[list[Movement], list[HoldLost]]:
    movements: list[Movement] = []
    lost: list[HoldLost] = []
    for hold in again:
        order_id, turn = hold.order_id, hold.turn + 1
        try:
            units = wanted(SkuUnits(line.sku_id, line.quantity) for line in paid[order_id].lines)
            lines = stock.take(units)
        except OutOfStock as short:
            _set(tx, [order_id], "released", "lost")
            missing = short.extra["sku_ids"]
            assert isinstance(missing, list)
            lost.append(HoldLost(order_id, tuple(int(str(sku_id)) for sku_id in missing)))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            continue
        movements += moved("hold", order_id, lines, turn) + moved("sell", order_id, lines, turn)
        _replace_lines(tx, order_id, lines)
        tx.execute(sa.update(holds).where(holds.c.order_id == order_id).values(status="sold", ended_by="", turn=turn))
    return movements, lost


def _replace_lines(tx: Tx, order_id: int, lines: Sequence[HeldLine]) -> None:
    tx.execute(sa.delete(hold_lines).where(hold_lines.c.order_id == order_id))
    _insert_lines(tx, [(order_id, line) for line in lines])


def _insert_lines(tx: Tx, lines: Sequence[tuple[int, HeldLine]]) -> None:
    tx.execute(
        sa.insert(hold_lines),
        [
            {
                "order_id": order_id,
                "sku_id": line.sku_id,
                "warehouse_id": line.warehouse_id,
                "quantity": line.quantity,
                "returned": 0,
            }
            for order_id, line in lines
        ],
    )


class Part(Struct):
    """What is left of an allotment in one warehouse."""

    warehouse_id: int
    left: int


def _lock_allotments(tx: Tx, sale_ids: Iterable[int]) -> tuple[dict[int, int], dict[int, list[Part]]]:
    """The SKU of each sale, and where its units lie."""
    wanted_ids = sorted(set(sale_ids))
    if not wanted_ids:
        return {}, {}
    heads = sa.select(allotments).where(allotments.c.sale_id.in_(wanted_ids)).order_by(allotments.c.sale_id)
    sku_of = {row.sale_id: row.sku_id for row in tx.execute(heads.with_for_update())}
    # Only of those that are locked: an allotment that is committed between the two statements has lines, but no lock.
    lines = sa.select(allotment_lines).where(allotment_lines.c.sale_id.in_(list(sku_of)))
    parts: dict[int, list[Part]] = {sale_id: [] for sale_id in sku_of}
    for row in tx.execute(lines.order_by(allotment_lines.c.sale_id, allotment_lines.c.warehouse_id)):
        parts[row.sale_id].append(Part(row.warehouse_id, row.units - row.sold - row.returned))
    return sku_of, parts


def _drawn(sale_id: int, parts: Sequence[Part], quantity: int) -> list[tuple[int, int]]:
    """(warehouse, units) out of an allotment. Raises TooEarly: units that come back have not arrived yet."""
    drawn: list[tuple[int, int]] = []
    if sum(part.left for part in parts) < quantity:
        raise TooEarly(f"sale {sale_id} has not {quantity} units left of its allotment")
    for part in parts:
        units = min(part.left, quantity)
        if units:
            drawn.append((part.warehouse_id, units))
            part.left -= units
            quantity -= units
    return drawn


def _count(tx: Tx, sale_id: int, warehouse_id: int, column: str, units: int) -> None:
    at = sa.and_(allotment_lines.c.sale_id == sale_id, allotment_lines.c.warehouse_id == warehouse_id)
    tx.execute(sa.update(allotment_lines).where(at).values({column: allotment_lines.c[column] + units}))


def _take_from_allotments(tx: Tx, of_sales: Sequence[Locked], paid: Mapping[int, OrderPaid]) -> list[Movement]:
    _sku_of, parts = _lock_allotments(tx, (hold.sale_id for hold in of_sales))
    movements: list[Movement] = []
    for hold in of_sales:
        sale_id = hold.sale_id
        for line in paid[hold.order_id].lines:
            for warehouse_id, units in _drawn(sale_id, parts.get(sale_id, ()), line.quantity):
                _count(tx, sale_id, warehouse_id, "sold", units)
                movements += moved("sell", hold.order_id, [HeldLine(warehouse_id, line.sku_id, units)], 1, sale_id)
    return movements


def _sold_at_once(tx: Tx, movements: Sequence[Movement]) -> None:
    if not movements:
        return
    orders = sorted({movement.cause_id for movement in movements})
    _insert_lines(tx, [(m.cause_id, HeldLine(m.warehouse_id, m.sku_id, m.quantity)) for m in movements])
    tx.execute(sa.update(holds).where(holds.c.order_id.in_(orders)).values(status="sold", ended_by="", turn=1))


# --- back -----------------------------------------------------------------------------------------------------------


def take_back(tx: Tx, events: Sequence[GoodsReturned], now_ms: int) -> None:
    """Goods are on the shelf again that they were sold from. Raises TooEarly: their sale has not arrived yet."""
    locked = lock_holds(tx, (event.order_id for event in events))
    movements: list[Movement] = []
    for event in events:
        hold = locked.get(event.order_id)
        if hold is None or hold.status == "held" or hold.ended_by in ("expired", "released", "missing"):
            raise TooEarly(f"nothing was sold to order {event.order_id} yet")
        if hold.status == "sold":
            movements += _returned(tx, hold, event)
    shelves(tx, sorted({movement.sku_id for movement in movements}))
    post(tx, movements, now_ms)


def _returned(tx: Tx, hold: Locked, event: GoodsReturned) -> list[Movement]:
    """Never more than was sold."""
    back: list[HeldLine] = []
    units = wanted(SkuUnits(line.sku_id, line.quantity) for line in event.lines) if event.lines else {}
    for line in hold.lines:
        part = min(units.get(line.sku_id, 0), line.quantity - line.returned)
        if part:
            units[line.sku_id] -= part
            line.returned += part
            back.append(HeldLine(line.warehouse_id, line.sku_id, part))
    _mark_returned(tx, hold)
    # Turn 0 is the cancelled order's; the whole order's return counts as the first.
    return moved("return", hold.order_id, back, event.refund + 1)


def _mark_returned(tx: Tx, hold: Locked) -> None:
    for line in hold.lines:
        at = sa.and_(
            hold_lines.c.order_id == hold.order_id,
            hold_lines.c.sku_id == line.sku_id,
            hold_lines.c.warehouse_id == line.warehouse_id,
        )
        tx.execute(sa.update(hold_lines).where(at).values(returned=line.returned))


def cancel(tx: Tx, events: Sequence[OrderCancelled], now_ms: int) -> None:
    """Held units are let go; sold ones go back to where they came from. What comes later for these orders is void."""
    by_order = {event.order_id: event for event in events if event.sale_id is None or event.was_paid}
    put_tombstones(tx, {event.order_id: event.sale_id or 0 for event in by_order.values()}, "cancelled", now_ms)
    locked = lock_holds(tx, by_order)
    sold = [hold for hold in locked.values() if hold.status == "sold" and by_order[hold.order_id].was_paid]
    _lock_allotments(tx, (hold.sale_id for hold in sold if hold.sale_id))
    movements: list[Movement] = []
    for hold in locked.values():
        if hold.status == "held":
            movements += moved("release", hold.order_id, hold.left(), hold.turn)
    for hold in sold:
        movements += moved("return", hold.order_id, hold.left(), 0, hold.sale_id)
        for line in hold.left() if hold.sale_id else ():
            _count(tx, hold.sale_id, line.warehouse_id, "sold", -line.quantity)
        for line in hold.lines:
            line.returned = line.quantity
        _mark_returned(tx, hold)
    shelves(tx, sorted({movement.sku_id for movement in movements}))
    post(tx, movements, now_ms)
    kept = {hold.order_id for hold in locked.values() if hold.status == "sold"} - {hold.order_id for hold in sold}
    _set(tx, sorted(locked.keys() - kept), "released", "cancelled")


# --- allotments -----------------------------------------------------------------------------------------------------


def unallot(tx: Tx, events: Sequence[AllotmentReturned], now_ms: int) -> None:
    """What is left of a sale may be held again. Raises TooEarly."""
    sku_of, parts = _lock_allotments(tx, (event.sale_id for event in events))
    movements: list[Movement] = []
    for event in events:
        sale_id = event.sale_id
        for warehouse_id, units in _drawn(sale_id, parts.get(sale_id, ()), event.quantity):
            _count(tx, sale_id, warehouse_id, "returned", units)
            movements.append(
                Movement(sku_of[sale_id], warehouse_id, "unallot", units, "sale", sale_id, event.number, sale_id)
            )
    shelves(tx, sorted({movement.sku_id for movement in movements}))
    post(tx, movements, now_ms)
