"""The hot transaction: a batch of holds. Its statements are written for each dialect; the decision is shared.

1. lock the shelves, ascending by SKU and warehouse (or read them, and guard the write by version or fence)
2. read the holds that exist, in a statement of its own: under READ COMMITTED it sees what the lock waited for
3. decide
4. write: balances with their movements, then holds with their lines

Whoever changes holds that exist locks them before the shelves; here new ones are written behind the shelves, and waits
only for others who have their shelves already: nobody waits in a circle. (An event about an order that was never held
writes a row for it before it locks shelves. It cannot meet that order's first hold, which comes before the order is
written; if it did, PostgreSQL would end the circle and the loser would repeat.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from doorbuster.contexts.inventory.model import Decision, Key, Shelf, decide, moved
from doorbuster.contexts.inventory.posting import Guard, Stale, post, shelves
from doorbuster.contracts.inventory import HeldLine, Hold, HoldRequest
from doorbuster.platform.sql.database import Row, Tx

GuardOf = Callable[[Shelf], Guard]


def hold_batch(
    tx: Tx, requests: Sequence[HoldRequest], now_ms: int, *, lock: bool = True, guard: GuardOf | None = None
) -> Decision:
    """Decides and writes. Raises Stale: roll back and come again."""
    on_shelves = shelves(tx, sorted({line.sku_id for request in requests for line in request.lines}), lock=lock)
    existing = find_holds(tx, [request.order_id for request in requests])
    decision = decide(requests, on_shelves, existing)
    if decision.fresh:
        guards: Mapping[Key, Guard] | None = None
        if guard is not None:
            guards = {(shelf.sku_id, shelf.warehouse_id): guard(shelf) for shelf in on_shelves}
        movements = [
            movement for hold in decision.fresh for movement in moved("hold", hold.order_id, hold.lines, turn=1)
        ]
        post(tx, movements, now_ms, guards)
        _insert(tx, decision.fresh, now_ms)
    return decision


_COLUMNS = "h.order_id, h.status, h.until_ms, l.warehouse_id, l.sku_id, l.quantity"
_FIND_SQLITE = (
    f"SELECT {_COLUMNS} FROM holds h LEFT JOIN hold_lines l ON l.order_id = h.order_id "  # noqa: S608 - constants
    "WHERE h.order_id = ? ORDER BY l.sku_id, l.warehouse_id"
)
_FIND_POSTGRES = (
    f"SELECT {_COLUMNS} FROM unnest($1::bigint[]) AS w(order_id) "  # noqa: S608 - constants
    "CROSS JOIN LATERAL (SELECT order_id, status, until_ms FROM holds WHERE order_id = w.order_id LIMIT 1) AS h "
    "LEFT JOIN LATERAL (SELECT warehouse_id, sku_id, quantity FROM hold_lines WHERE order_id = h.order_id "
    "ORDER BY sku_id, warehouse_id LIMIT 10000) AS l ON true"
)


def find_holds(tx: Tx, order_ids: Sequence[int]) -> dict[int, Hold]:
    """Those that exist, with their lines, by order."""
    wanted = sorted(set(order_ids))
    if tx.dialect == "sqlite":
        rows = [row for order_id in wanted for row in tx.rows(_FIND_SQLITE, order_id)]
    else:
        rows = tx.rows(_FIND_POSTGRES, wanted)
    lines: dict[int, list[HeldLine]] = {}
    heads: dict[int, Row] = {}
    for row in rows:
        heads[row[0]] = row
        of_order = lines.setdefault(row[0], [])
        if row[3] is not None:
            of_order.append(HeldLine(row[3], row[4], row[5]))
    return {
        order_id: Hold(order_id, heads[order_id][1], heads[order_id][2], tuple(lines[order_id]))
        for order_id in sorted(heads)
    }


_INSERT_HOLD = (
    "INSERT INTO holds (order_id, sale_id, status, ended_by, until_ms, turn, created_ms) "
    "VALUES (?, 0, 'held', '', ?, 1, ?)"
)
_INSERT_LINE = "INSERT INTO hold_lines (order_id, sku_id, warehouse_id, quantity) VALUES (?, ?, ?, ?)"
_INSERT_POSTGRES = (
    "WITH written AS (INSERT INTO holds (order_id, sale_id, status, ended_by, until_ms, turn, created_ms) "
    "SELECT h.order_id, 0, 'held', '', h.until_ms, 1, $3::bigint FROM unnest($1::bigint[], $2::bigint[]) "
    "AS h(order_id, until_ms) ON CONFLICT DO NOTHING RETURNING 1), "
    "lined AS (INSERT INTO hold_lines (order_id, sku_id, warehouse_id, quantity) "
    "SELECT * FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) ON CONFLICT DO NOTHING) "
    "SELECT count(*) FROM written"
)


def _insert(tx: Tx, fresh: Sequence[Hold], now_ms: int) -> None:
    """Raises Stale when one of these orders was held or released by somebody else in this moment."""
    holds = sorted(fresh, key=lambda hold: hold.order_id)
    lines = [(hold.order_id, line.sku_id, line.warehouse_id, line.quantity) for hold in holds for line in hold.lines]
    if tx.dialect == "sqlite":
        tx.run_many(_INSERT_HOLD, [(hold.order_id, hold.until_ms, now_ms) for hold in holds])
        tx.run_many(_INSERT_LINE, lines)
        return
    ((written,),) = tx.rows(
        _INSERT_POSTGRES,
        [hold.order_id for hold in holds],
        [hold.until_ms for hold in holds],
        now_ms,
        *map(list, zip(*lines, strict=True)),
    )
    if written != len(holds):
        raise Stale
