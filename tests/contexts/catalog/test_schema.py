"""The tables: made by the migration as the store describes them, refusing what must not be."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from contexts.catalog.goods import MERCHANT, draft, everything
from doorbuster.contexts.catalog import store
from doorbuster.contexts.catalog.tables import metadata, products, skus
from doorbuster.platform.sql.errors import RowRejected


async def test_the_migration_makes_the_tables_that_the_store_uses(database):
    def differences(tx):
        context = MigrationContext.configure(tx.connection, opts={"compare_type": True})
        return [
            difference
            for difference in compare_metadata(context, metadata)
            if not (difference[0] == "remove_table" or difference[0] == "remove_index")
        ]

    def ours(tx):
        inspector = sa.inspect(tx.connection)
        return {
            table.name: {
                *(index["name"] for index in inspector.get_indexes(table.name) if not index.get("unique")),
                *(check["name"] for check in inspector.get_check_constraints(table.name)),
                *(unique["name"] for unique in inspector.get_unique_constraints(table.name)),
            }
            for table in (products, skus)
        }

    assert await database.read(differences) == []
    wanted = {
        table.name: {
            *(index.name for index in table.indexes),
            *(
                constraint.name
                for constraint in table.constraints
                if isinstance(constraint, (sa.CheckConstraint, sa.UniqueConstraint))
            ),
        }
        for table in (products, skus)
    }
    assert await database.read(ours) == wanted


@pytest.mark.parametrize(
    "broken",
    [
        sa.update(products).values(title_en=None, title_zh=None),
        sa.update(products).values(title_en="", title_zh=None),
        sa.update(products).values(status="sold"),
        sa.update(products).values(version=0),
        sa.update(products).values(category=""),
        sa.update(products).values(updated_ms=0),
        sa.update(skus).values(price_amount=-1),
        sa.update(skus).values(price_amount=10**13 + 1),
        sa.update(skus).values(currency="CNYY"),
        sa.update(skus).values(position=50),
        sa.update(skus).values(product_id=5),
        sa.update(skus).values(code=""),
        sa.update(skus).values(code="SAME"),
    ],
    ids=str,
)
async def test_rows_that_must_not_be_are_refused(service, database, broken):
    await service.create(MERCHANT, "k", draft("A", "B"))
    before = await everything(database)
    with pytest.raises(RowRejected):
        await database.write(lambda tx: tx.execute(broken))
    assert await everything(database) == before


def plan_of(tx, statement) -> str:
    text = str(statement.compile(tx.connection, compile_kwargs={"literal_binds": True}))
    if tx.dialect == "sqlite":
        return "\n".join(row[3] for row in tx.rows(f"EXPLAIN QUERY PLAN {text}"))
    tx.execute(sa.text("SET LOCAL enable_seqscan = off"))
    tx.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
    return "\n".join(row[0] for row in tx.rows(f"EXPLAIN {text}"))


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (store.active_page(17, 21, None), {"products_by_status"}),
        (store.active_page(17, 21, "tea"), {"products_by_category"}),
        (store.merchant_page(7, 17, 200), {"products_by_merchant"}),
        (store.active_categories(), {"products_by_category"}),
        (store.sku_by_id(5), {"skus_pkey", "INTEGER PRIMARY KEY"}),
        (store.skus_by_codes(7, ["A", "B"]), {"one_sku_per_code", "(code=? AND merchant_id=?)"}),
        (store.skus_of([5, 6]), {"one_sku_per_position", "(product_id=?)"}),
    ],
    ids=["list", "list of a category", "export", "categories", "sku", "codes", "skus of products"],
)
async def test_queries_are_served_by_an_index(service, database, statement, index):
    for n in range(30):
        await service.create(MERCHANT, f"k{n}", draft(f"A-{n}", category=f"c{n % 5}"))
    plan = await database.read(lambda tx: plan_of(tx, statement))
    assert any(name in plan for name in index), plan
    assert "Seq Scan" not in plan and "SCAN products" not in plan and "SCAN skus" not in plan, plan
    if index != {"one_sku_per_position", "(product_id=?)"}:  # PostgreSQL before 17 sorts those few SKUs
        assert "TEMP B-TREE" not in plan and "Sort" not in plan, plan
