"""The hot statements probe indexes, on both databases, also when a plan was made before the rows came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import sqlalchemy as sa

from conftest import NOW_MS
from contexts.orders.ordering_shop import OrderingShop
from doorbuster.contexts.orders import store
from doorbuster.contexts.orders.tables import orders
from doorbuster.platform.sql.database import Tx

ORDERS, CUSTOMERS, UNPAID_EVERY, RESELLER, SHOP = 20_000, 2_000, 25, 77, 78


Native = tuple[str, tuple[Any, ...]]
"""A statement written for one dialect, and its parameters."""


class Recorder:
    """A transaction that remembers what was asked of it."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.dialect = tx.dialect
        self.statements: list[sa.Executable | Native] = []

    def execute(self, statement: sa.Executable, parameters: Any = None) -> Any:
        self.statements.append(statement)
        return self._tx.execute(statement, parameters)

    def rows(self, sql: str, *parameters: Any) -> Any:
        self.statements.append((sql, parameters))
        return self._tx.rows(sql, *parameters)


async def many_orders(shop: OrderingShop) -> None:
    """Most are paid long ago, of many customers, one of them a reseller; some wait for their payment."""

    def order(n: int) -> dict[str, Any]:
        unpaid = n % UNPAID_EVERY == 0
        return {
            "id": n,
            "customer_id": RESELLER if n % 10 == 1 else n % CUSTOMERS,
            "sale_id": 5,
            "status": "pending_payment" if unpaid else "paid",
            "version": 1,
            "total_amount": 1,
            "currency": "CNY",
            "created_ms": NOW_MS,
            "pay_by_ms": NOW_MS + n,
            "payment_id": None if unpaid else n,
            "merchant_id": SHOP if n % 10 == 2 else n % CUSTOMERS,
        }

    def insert(tx: Tx) -> None:
        tx.execute(sa.insert(orders), [order(n) for n in range(1, ORDERS + 1)])
        tx.execute(sa.text("INSERT INTO order_lines SELECT id, 1, 9, 'Tea', 1, 1 FROM orders"))
        tx.execute(sa.text("INSERT INTO order_moves SELECT id, 1, created_ms, NULL, status, 't', 't' FROM orders"))

    await shop.database.write(insert)
    if shop.database.dialect == "postgres":
        await shop.database.write(lambda tx: tx.execute(sa.text("ANALYZE orders, order_lines, order_moves")))


READS: dict[str, Callable[[Tx], Any]] = {
    "due": lambda tx: store.due(tx, NOW_MS + ORDERS, store.Due(NOW_MS + 5_000, 5_000), 500),
    "due-from-the-start": lambda tx: store.due(tx, NOW_MS + ORDERS, store.Due(0, 0), 500),
    "list_of": lambda tx: store.list_of(tx, RESELLER, 2**62, 21),
    "list_for_merchant": lambda tx: store.list_for_merchant(tx, SHOP, "paid", 2**62, 21),
    "find_many": lambda tx: store.find_many(tx, [5, 500, 15_000]),
    "find": lambda tx: store.find(tx, 12_345),
    "page_of_facts": lambda tx: store.page_of_facts(tx, 10_000, 500),
    "facts_of": lambda tx: store.facts_of(tx, [5, 500, 15_000]),
}

BOUNDS = {
    # The unpaid alone are looked at, and the customer's own alone, however few of them are asked for.
    "due": ("orders_to_pay", ORDERS // UNPAID_EVERY),
    "due-from-the-start": ("orders_to_pay", ORDERS // UNPAID_EVERY),
    "list_of": ("orders_of_customer", ORDERS // 10 + 1),
    "list_for_merchant": ("orders_of_merchant", ORDERS // 10 + 1),
}


async def test_the_hot_reads_probe_indexes_however_many_orders_there_are(shop: OrderingShop) -> None:
    await many_orders(shop)
    plans: dict[str, list[str]] = {}
    for name, read in READS.items():
        assert await shop.database.read(read), f"{name} finds nothing, so its plan proves nothing"
        plans[name] = await shop.database.read(lambda tx, read=read: plans_of(tx, read))
        for plan in plans[name]:
            assert not scans_a_table(plan), f"{name}:\n{plan}"
    for name, (index, rows) in BOUNDS.items():
        plan = plans[name][0]
        assert index in plan, plan
        assert "TEMP B-TREE" not in plan, plan
        if shop.database.dialect == "postgres":
            assert 0 < await shop.database.read(lambda tx, name=name: rows_read(tx, READS[name])) <= rows


def rows_read(tx: Tx, read: Callable[[Tx], Any]) -> int:
    """How many rows of `orders` PostgreSQL has fetched for a read."""

    def fetched() -> int:
        counted = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = $1"
        return tx.rows(counted, "orders")[0][0]

    before = fetched()
    read(tx)
    return fetched() - before


def plans_of(tx: Tx, read: Callable[[Tx], Any]) -> list[str]:
    """How the database goes about each statement of `read`; on PostgreSQL also by a plan for any parameters."""
    recorder = Recorder(tx)
    read(cast("Tx", recorder))
    explain = _sqlite_plan if tx.dialect == "sqlite" else _postgres_plans
    return [explain(tx, statement) for statement in recorder.statements]


def _sqlite_plan(tx: Tx, statement: sa.Executable | Native) -> str:
    if isinstance(statement, tuple):
        sql, parameters = statement
        return "\n".join(str(row[3]) for row in tx.rows(f"EXPLAIN QUERY PLAN {sql}", *parameters))
    sql = str(statement.compile(dialect=tx.connection.dialect, compile_kwargs={"literal_binds": True}))
    return "\n".join(str(row[3]) for row in tx.rows(f"EXPLAIN QUERY PLAN {sql}"))


def _postgres_plans(tx: Tx, statement: sa.Executable | Native) -> str:
    if isinstance(statement, tuple):
        sql, parameters = statement
        return "\n".join(row[0] for row in tx.rows(f"EXPLAIN {sql}", *parameters))
    compiled = statement.compile(dialect=tx.connection.dialect, compile_kwargs={"render_postcompile": True})
    values = compiled.construct_params()
    arguments = ", ".join(_literal(values[name]) for name in compiled.positiontup or ())
    tx.rows(f"PREPARE probe AS {compiled}")
    plan: list[str] = []
    for mode in ("force_custom_plan", "force_generic_plan"):
        tx.rows(f"SET LOCAL plan_cache_mode = {mode}")
        plan += [row[0] for row in tx.rows(f"EXPLAIN EXECUTE probe({arguments})")]
    tx.rows("DEALLOCATE probe")
    return "\n".join(plan)


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def scans_a_table(plan: str) -> bool:
    return "Seq Scan" in plan or any(line.startswith("SCAN ") and "INDEX" not in line for line in plan.splitlines())
