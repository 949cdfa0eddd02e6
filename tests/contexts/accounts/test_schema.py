"""The migrations make the tables that the code names, and no hot query reads a whole table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from contexts.accounts.accounts_shop import Shop
from doorbuster.contexts.accounts import session_store, store
from doorbuster.contexts.accounts.model import GuessSubjects
from doorbuster.contexts.accounts.tables import metadata
from doorbuster.platform.sql.database import Tx


async def test_migrations_and_tables_agree(shop: Shop):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def differences(tx: Tx) -> list[Any]:
        options = {"include_name": lambda name, kind, _parents: kind != "table" or name in metadata.tables}
        return compare_metadata(MigrationContext.configure(tx.connection, opts=options), metadata)

    assert await shop.database.read(differences) == []


async def test_migrations_and_tables_have_the_same_checks(shop: Shop):
    def checks(tx: Tx) -> dict[str, set[str]]:
        inspector = sa.inspect(tx.connection)
        return {
            name: {str(check["name"]) for check in inspector.get_check_constraints(name)} for name in metadata.tables
        }

    expected = {
        table.name: {str(c.name) for c in table.constraints if isinstance(c, sa.CheckConstraint)}
        for table in metadata.tables.values()
    }
    assert await shop.database.read(checks) == expected


async def test_every_query_is_served_by_an_index(shop: Shop):
    """PostgreSQL plans by size and would scan our empty tables; it has the same indexes."""
    if shop.database.dialect != "sqlite":
        return
    subjects = GuessSubjects(b"1", b"2")

    def every_query(tx: Tx) -> list[str]:
        seen: list[tuple[str, Any]] = []

        def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            seen.append((statement, parameters))

        sa.event.listen(tx.connection, "before_cursor_execute", remember)
        session_store.presented(tx, b"x")
        session_store.revoke(tx, 1, "log-out", 1)
        session_store.revoke_oldest(tx, 1, 1)
        session_store.revoke_all(tx, 1, "reuse", 1)
        session_store.has_logged_in_from(tx, 1, b"x")
        session_store.count_guess(tx, b"1", 1, 1)
        session_store.window_ends_ms(tx, b"1")
        session_store.forgive(tx, subjects)
        session_store.purge(tx, 1, 1)
        store.account(tx, 1)
        store.account_of_email(tx, "x")
        store.credentials(tx, "x")
        store.lock_account(tx, 1)
        store.replace_hash(tx, 1, "x")
        store.replace_credentials(tx, 1, "admin", "x")
        store.address_count(tx, 1)
        store.addresses_of(tx, 1, 20)
        store.delete_address(tx, 1, 1)
        sa.event.remove(tx.connection, "before_cursor_execute", remember)
        assert len(seen) > 18
        return [
            f"{step[3]}: {statement}"
            for statement, parameters in seen
            for step in tx.rows(f"EXPLAIN QUERY PLAN {statement}", *parameters)
        ]

    plans = await shop.database.write(every_query)
    assert [plan for plan in plans if plan.startswith("SCAN") or "TEMP B-TREE" in plan] == []
