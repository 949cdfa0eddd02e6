"""Products, people and looks at the rows, for the tests of the catalogue."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from doorbuster.contexts.catalog.model import ProductDraft, SkuDraft
from doorbuster.contexts.catalog.tables import products, skus
from doorbuster.contracts.catalog import Bilingual
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.sql.database import Database

MERCHANT = Principal(1001, "merchant")
RIVAL = Principal(1002, "merchant")
ADMIN = Principal(1, "admin")
ONLOOKERS = (Principal(2001, "customer"), Principal(2002, "courier"), Principal(2003, "support"))


def sku(code: str = "TEA-1", amount: int = 1990, **more: Any) -> SkuDraft:
    return SkuDraft(code, Money(amount, "CNY"), **more)


def draft(*codes: str, **more: Any) -> ProductDraft:
    """A tea tray, on sale, with a SKU per code."""
    fields: dict[str, Any] = {
        "title": Bilingual("Tea Tray", "茶盘"),
        "category": "tea",
        "skus": tuple(sku(code) for code in codes or ("TEA-1",)),
        "status": "active",
    }
    return ProductDraft(**fields | more)


async def rows(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    key = next(iter(table.primary_key.columns))
    statement = sa.select(table).order_by(key)
    return await database.read(lambda tx: [dict(row._mapping) for row in tx.execute(statement)])


async def product_rows(database: Database) -> list[dict[str, Any]]:
    return await rows(database, products)


async def sku_rows(database: Database) -> list[dict[str, Any]]:
    return await rows(database, skus)


async def event_rows(database: Database) -> list[dict[str, Any]]:
    return await rows(database, outbox)


async def everything(database: Database) -> tuple[Any, ...]:
    """All that a refused change must leave as it was."""
    return await product_rows(database), await sku_rows(database), await event_rows(database)
