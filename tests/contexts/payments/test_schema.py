"""The tables refuse what must never be, whoever asks."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from contexts.payments.conftest import MIGRATIONS
from contexts.payments.paying_shop import Shop
from doorbuster.contexts.payments.store.tables import ledger_entries, metadata, payments, refunds
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.errors import RowRejected
from doorbuster.platform.sql.migrations import History, migrate


async def test_the_migration_makes_the_tables_that_the_store_uses(shop: Shop):
    def compare(tx: Tx) -> None:
        found = sa.inspect(tx.connection)
        for table in metadata.tables.values():
            columns = {column["name"]: column for column in found.get_columns(table.name)}
            assert set(columns) == {column.name for column in table.columns}
            for column in table.columns:
                assert columns[column.name]["nullable"] == column.nullable, f"{table.name}.{column.name}"
                assert isinstance(columns[column.name]["type"], type(column.type)), f"{table.name}.{column.name}"
            names = {index["name"] for index in found.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= names
            assert found.get_pk_constraint(table.name)["constrained_columns"] == [
                column.name for column in table.primary_key.columns
            ]
            checks = {check["name"] for check in found.get_check_constraints(table.name)}
            uniques = {unique["name"] for unique in found.get_unique_constraints(table.name)}
            named = {str(rule.name) for rule in table.constraints if rule.name is not None}
            assert named - {f"{table.name}_pkey"} <= checks | uniques

    await shop.database.read(compare)


async def test_migrating_again_does_nothing(shop: Shop):
    assert await migrate(shop.database, History(MIGRATIONS), 0) == []


async def refused(database: Database, statement: sa.Executable) -> None:
    with pytest.raises(RowRejected):
        await database.write(lambda tx: tx.execute(statement))


async def test_the_ledger_is_only_appended_to(shop: Shop):
    payment = await shop.captured()
    before = await shop.everything()
    await refused(shop.database, sa.update(ledger_entries).values(amount=1))
    await refused(shop.database, sa.delete(ledger_entries).where(ledger_entries.c.payment_id == payment.id))
    assert await shop.everything() == before


async def test_a_capture_cannot_be_posted_twice(shop: Shop):
    await shop.captured()
    (first, *_) = await shop.rows(ledger_entries)
    again = dict(first._mapping) | {"transaction_id": first.transaction_id + 1}
    await refused(shop.database, sa.insert(ledger_entries).values(**again))


PAID: dict[str, object] = {"captured_amount": 1990, "captured_ms": 1, "status": "captured"}
IMPOSSIBLE: list[dict[str, object]] = [
    {"status": "paid"},
    {"status": "captured"},
    {"status": "in_progress"},
    {"status": "refunded", "captured_amount": 1990, "captured_ms": 1},
    {"captured_amount": 1990},
    {"captured_amount": 1, "status": "captured", "captured_ms": 1},
    {"refunded_amount": 1990},
    {"refund_requested": 1},
    PAID | {"refund_requested": 1991, "refunded_amount": 1991, "refunded_ms": 1, "status": "refunded"},
    PAID | {"refund_requested": 1991},
    PAID | {"refund_requested": -1},
    PAID | {"refunded_amount": 1, "refunded_ms": 1},
    PAID | {"refund_requested": 5, "status": "refunding"},
    PAID | {"refund_requested": 1990},
    PAID | {"refund_requested": 1990, "refunded_amount": 1990, "refunded_ms": 1, "status": "refunding"},
    PAID | {"refund_requested": 1990, "refunded_amount": 5, "refunded_ms": 1, "status": "refunded"},
    PAID | {"refund_requested": 5, "refunded_amount": 5},
    {"amount": 0},
    {"amount": -1},
    {"amount": 10**13 + 1},
    {"reference": None},
    {"checkout_url": None},
    {"lease_until_ms": 1},
]


async def test_impossible_payments_are_refused(shop: Shop):
    payment = await shop.open()
    before = await shop.everything()
    for values in IMPOSSIBLE:
        await refused(shop.database, sa.update(payments).where(payments.c.id == payment.id).values(**values))
    assert await shop.everything() == before


async def test_an_order_has_one_open_payment(shop: Shop):
    payment = await shop.open()
    row = dict((await shop.row(payment.id))._mapping)
    again = row | {"id": payment.id + 1, "idempotency_key": "another", "reference": "another"}
    await refused(shop.database, sa.insert(payments).values(**again))


async def test_a_refund_is_asked_for_once_per_cause(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment)
    row = dict((await shop.rows(refunds))[0]._mapping)
    await refused(shop.database, sa.insert(refunds).values(**(row | {"id": 1})))
    await refused(shop.database, sa.update(refunds).values(status="succeeded"))
    await refused(shop.database, sa.update(refunds).values(amount=0))
