"""Orders from before refunds had rows: they can be read, and their books hold, after the migration too."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from doorbuster.contexts.orders import books, store
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.sql.open import open_databases
from postgres_server import PostgresServer

ROWS = {
    1: [("pending_payment", "flash_sale", "claim")],
    2: [("pending_payment", "flash_sale", "claim"), ("paid", "payments", "payment 7")],
    3: [
        ("pending_payment", "flash_sale", "claim"),
        ("paid", "payments", "payment 7"),
        ("refunding", "account 1", "customer"),
    ],
    4: [
        ("pending_payment", "flash_sale", "claim"),
        ("cancelled", "deadline", "payment-deadline"),
        ("refunding", "payments", "late payment 7"),
        ("refunded", "payments", "refund of payment 7"),
    ],
}
FAR_MS = 4_000_000_000_000


def migrate_to(tx: Tx, name: str) -> None:
    with Operations.context(MigrationContext.configure(tx.connection)):
        import_module(f"doorbuster.contexts.orders.migrations.{name}").upgrade()


def old_rows(tx: Tx) -> None:
    for order_id, steps in ROWS.items():
        payment = 7 if len(steps) > 1 else "NULL"
        tx.execute(
            sa.text(
                "INSERT INTO orders (id, customer_id, sale_id, status, version, total_amount, currency, created_ms, "
                f"pay_by_ms, payment_id) VALUES ({order_id}, 1, 5, '{steps[-1][0]}', {len(steps)}, 100, 'CNY', 1, "
                f"{FAR_MS}, {payment})"
            )
        )
        tx.execute(sa.text(f"INSERT INTO order_lines VALUES ({order_id}, 1, 9, 'Tea', 1, 100)"))
        before = "NULL"
        for n, (status, actor, cause) in enumerate(steps, start=1):
            tx.execute(
                sa.text(
                    f"INSERT INTO order_moves VALUES ({order_id}, {n}, {n}, {before}, '{status}', '{actor}', '{cause}')"
                )
            )
            before = f"'{status}'"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_old_orders_keep_their_books(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    postgres: PostgresServer = request.getfixturevalue("postgres")
    async with postgres.fresh_database() as url:
        settings = DatabaseSettings() if engine == "sqlite" else DatabaseSettings(url=url)
        database = (await open_databases(settings, tmp_path, ["orders"]))["orders"]
        try:
            await database.write(lambda tx: migrate_to(tx, "0001_first"))
            await database.write(old_rows)
            await database.write(lambda tx: migrate_to(tx, "0002_whole_life"))
            checks = await database.read(lambda tx: books.checks(tx, FAR_MS - 1))
            assert {check.name: check.breaches for check in checks if check.verdict != "holds"} == {}
            found = await database.read(lambda tx: store.find_many(tx, list(ROWS)))
            assert [order.refunded.amount for order in found] == [0, 0, 100, 100]
            causes = await database.read(
                lambda tx: list(tx.execute(sa.text("SELECT cause FROM order_refunds")).scalars())
            )
            assert sorted(causes) == ["customer", "late-payment"]
        finally:
            await database.close()
