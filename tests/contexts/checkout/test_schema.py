"""The migrations make the tables that the code names, and hot statements probe indexes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from contexts.checkout.placing_shop import PlacingShop
from doorbuster.contexts.checkout import writing
from doorbuster.contexts.checkout.tables import checkouts, coupon_uses, coupons, metadata, redemptions
from doorbuster.platform.sql.database import Tx


async def test_migrations_and_tables_agree(shop: PlacingShop):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def differences(tx: Tx) -> list[Any]:
        options = {"include_name": lambda name, kind, _parents: kind != "table" or name in metadata.tables}
        return compare_metadata(MigrationContext.configure(tx.connection, opts=options), metadata)

    assert await shop.database.read(differences) == []


async def test_migrations_and_tables_have_the_same_checks(shop: PlacingShop):
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


async def test_placed_ones_are_found_by_index_whatever_the_plan_was_made_for(shop: PlacingShop):
    """A generic plan. Reading all of a table with a page or two, as here, may be cheaper, and is chosen once the table
    was analysed: that is forbidden, so that the plan is one by index if any is possible."""
    if shop.database.dialect != "postgres":
        return
    statement = writing.statement_of((False, False, False, True))

    def plan(tx: Tx) -> str:
        tx.rows("SET LOCAL plan_cache_mode = force_generic_plan")
        tx.rows("SET LOCAL enable_seqscan = off")
        tx.rows(f"PREPARE hot AS {statement}")
        rows = tx.rows("EXPLAIN EXECUTE hot(1, '{1,2,3}')")
        tx.rows("DEALLOCATE hot")
        return "\n".join(row[0] for row in rows)

    told = await shop.database.write(plan)
    assert "Seq Scan" not in told
    assert "Tid Scan" in told


async def test_the_books_see_what_is_wrong(shop: PlacingShop):
    """Rows that were changed behind the service's back."""
    await shop.coupon(customer_limit=3)
    who = shop.customer()
    placed = await shop.place(who, await shop.with_coupon(who))
    tampers: dict[str, list[sa.Executable]] = {
        "coupon count = its redemptions": [sa.update(coupons).values(used=2)],
        "coupon uses per customer = their redemptions": [
            sa.update(coupons).values(used=1),
            sa.update(coupon_uses).values(used=2),
        ],
        "every redemption belongs to a checkout that stands": [
            sa.update(coupon_uses).values(used=1),
            sa.update(redemptions).values(customer_id=7),
        ],
        "a cart is ordered once": [sa.update(checkouts).values(cart_id=7)],
        "no checkout is stuck": [sa.update(checkouts).values(status="placing", due_ms=1, begun_ms=1)],
    }
    for name, statements in tampers.items():
        await shop.database.write(lambda tx, all_=statements: [tx.execute(each) for each in all_])
        broken = {check.name for check in await shop.service.audit() if check.verdict == "broken"}
        assert name in broken
    facts = [fact async for page in shop.service.checkout_facts() for fact in page]
    assert [(fact.order_id, fact.total) for fact in facts] == [(placed.id, placed.total)]
    assert await shop.service.checkout_facts_of([placed.id]) == facts
