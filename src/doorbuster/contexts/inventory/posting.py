"""Movements: a balance and its ledger entries change in one statement's transaction, guarded by the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from doorbuster.contexts.inventory.model import COLUMNS, Key, Movement, Shelf, deltas
from doorbuster.platform.sql.database import Tx


class Stale(Exception):
    """The stock is not as it was read: nothing may be written. `keys` tells whose guards refused."""


class Guard:
    """What must still be true of a shelf: its version, or that no newer lock has written (-1: does not matter)."""

    __slots__ = ("fence", "version")

    def __init__(self, version: int = -1, fence: int = -1) -> None:
        self.version, self.fence = version, fence


UNGUARDED = Guard()

_SHELF = (
    "SELECT sku_id, warehouse_id, priority, on_hand - held - allotted, version, fence FROM stock "
    "WHERE sku_id = {} ORDER BY sku_id, warehouse_id{}"
)
_ONE_SQLITE = _SHELF.format("?", "")
_LOCKED = _SHELF.format("ANY($1::bigint[])", " FOR UPDATE")
_READ = _SHELF.format("ANY($1::bigint[])", "")


def shelves(tx: Tx, sku_ids: Sequence[int], *, lock: bool = True) -> list[Shelf]:
    """All shelves of these SKUs, locked in ascending order (SQLite's transaction is the lock)."""
    if tx.dialect == "sqlite":
        return [Shelf(*row) for sku_id in sku_ids for row in tx.rows(_ONE_SQLITE, sku_id)]
    return [Shelf(*row) for row in tx.rows(_LOCKED if lock else _READ, sorted(set(sku_ids)))]


_SET = ", ".join(f"{column} = {column} + ?{number}" for number, column in enumerate(COLUMNS, 3))
_UPDATE_SQLITE = (
    f"UPDATE stock SET {_SET}, version = version + 1, fence = max(fence, ?13) "  # noqa: S608 - constants
    "WHERE sku_id = ?1 AND warehouse_id = ?2 AND (?12 < 0 OR version = ?12) AND (?13 < 0 OR fence <= ?13) "
    "AND held + ?6 + allotted + ?7 <= on_hand + ?5 RETURNING 1"
)
_ENTRY = "(sku_id, warehouse_id, kind, quantity, cause_kind, cause_id, cause_n, sale_id, at_ms)"
_INSERT_SQLITE = f"INSERT INTO ledger {_ENTRY} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_POST_POSTGRES = (
    "WITH moved AS (UPDATE stock s SET "  # noqa: S608 - constants
    + ", ".join(f"{column} = s.{column} + d.{column}" for column in COLUMNS)
    + ", version = s.version + 1, fence = greatest(s.fence, d.fence) FROM unnest("
    + ", ".join(f"${number}::bigint[]" for number in range(1, 14))
    + f") AS d(sku_id, warehouse_id, {', '.join(COLUMNS)}, version, fence) "  # noqa: S608 - constants
    "WHERE s.sku_id = d.sku_id AND s.warehouse_id = d.warehouse_id "
    "AND (d.version < 0 OR s.version = d.version) AND (d.fence < 0 OR s.fence <= d.fence) "
    "AND s.held + d.held + s.allotted + d.allotted <= s.on_hand + d.on_hand RETURNING 1), "
    f"entered AS (INSERT INTO ledger {_ENTRY} SELECT *, $22::bigint FROM unnest("
    "$14::bigint[], $15::bigint[], $16::text[], $17::bigint[], $18::text[], $19::bigint[], $20::bigint[], "
    "$21::bigint[])) SELECT count(*) FROM moved"
)


def post(tx: Tx, movements: Sequence[Movement], now_ms: int, guards: Mapping[Key, Guard] | None = None) -> None:
    """Changes the balances and enters the movements. The shelves exist and are locked, or have `guards`.

    Raises Stale: the transaction must be given up.
    """
    if not movements:
        return
    sums, guards = sorted(deltas(movements).items()), guards or {}
    rows = [(*key, *delta, guards.get(key, UNGUARDED).version, guards.get(key, UNGUARDED).fence) for key, delta in sums]
    if tx.dialect == "sqlite":
        for row in rows:
            if not tx.rows(_UPDATE_SQLITE, *row):
                raise Stale(row[:2])
        tx.run_many(_INSERT_SQLITE, [(*movement, now_ms) for movement in movements])
        return
    ((moved,),) = tx.rows(
        _POST_POSTGRES, *map(list, zip(*rows, strict=True)), *map(list, zip(*movements, strict=True)), now_ms
    )
    if moved != len(rows):
        raise Stale([row[:2] for row in rows])
