"""The catalogue's rows. Reads take and give whole products; writes come in batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.catalog.tables import products, skus
from doorbuster.contracts.catalog import Bilingual, Product, Sku, SkuFacts
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.database import Tx

CATEGORIES_MAX = 500

_encode = msgspec.json.Encoder().encode
_urls = msgspec.json.Decoder(tuple[str, ...])


def find(tx: Tx, product_ids: Sequence[int], *, lock: bool = False) -> list[Product]:
    """Those of the products that exist, by id. `lock` keeps them as they are until this transaction ends."""
    if not product_ids:
        return []
    statement = sa.select(products).where(products.c.id.in_(product_ids)).order_by(products.c.id)
    return _with_skus(tx, tx.execute(statement.with_for_update() if lock else statement).all())


def active_page(after: int, limit: int, category: str | None) -> sa.Select[Any]:
    """Products on sale with an id above `after`."""
    statement = sa.select(products).where(products.c.status == "active", products.c.id > after)
    if category is not None:
        statement = statement.where(products.c.category == category)
    return statement.order_by(products.c.id).limit(limit)


def merchant_page(merchant_id: int, after: int, limit: int) -> sa.Select[Any]:
    """Products of a merchant, whatever their status, with an id above `after`."""
    statement = sa.select(products).where(products.c.merchant_id == merchant_id, products.c.id > after)
    return statement.order_by(products.c.id).limit(limit)


def page(tx: Tx, statement: sa.Select[Any]) -> list[Product]:
    return _with_skus(tx, tx.execute(statement).all())


def active_categories() -> sa.Select[Any]:
    """The first CATEGORIES_MAX categories that have a product on sale, in order: one index look-up each."""
    active = products.c.status == "active"
    first = sa.select(sa.func.min(products.c.category).label("category")).where(active)
    found = first.cte("found", recursive=True)
    behind = sa.select(sa.func.min(products.c.category)).where(active, products.c.category > found.c.category)
    found = found.union_all(sa.select(behind.correlate(found).scalar_subquery()).where(found.c.category.is_not(None)))
    return sa.select(found.c.category).where(found.c.category.is_not(None)).limit(CATEGORIES_MAX)


def categories(tx: Tx) -> list[str]:
    return list(tx.execute(active_categories()).scalars())


def _with_product() -> sa.Select[Any]:
    statement = sa.select(skus, products.c.title_en, products.c.title_zh, products.c.status)
    return statement.join(products, products.c.id == skus.c.product_id)


def sku_by_id(sku_id: int) -> sa.Select[Any]:
    return _with_product().where(skus.c.id == sku_id)


def skus_by_ids(sku_ids: Sequence[int]) -> sa.Select[Any]:
    return _with_product().where(skus.c.id.in_(sku_ids))


def find_sku(tx: Tx, sku_id: int) -> SkuFacts | None:
    row = tx.execute(sku_by_id(sku_id)).first()
    return None if row is None else _facts(row)


def find_skus(tx: Tx, sku_ids: Sequence[int]) -> list[SkuFacts]:
    """Those of the SKUs that exist."""
    return [_facts(row) for row in tx.execute(skus_by_ids(sku_ids))]


def skus_of_merchant(tx: Tx, merchant_id: int, after: str, limit: int) -> list[tuple[str, int]]:
    """Code and id of a merchant's SKUs with codes behind `after`, in order of codes."""
    statement = (
        sa.select(skus.c.code, skus.c.id)
        .where(skus.c.merchant_id == merchant_id, skus.c.code > after)
        .order_by(skus.c.code)
        .limit(limit)
    )
    return [(row.code, row.id) for row in tx.execute(statement)]


def _facts(row: sa.Row[Any]) -> SkuFacts:
    title = Bilingual(row.title_en, row.title_zh).joined()
    return SkuFacts(
        sku_id=row.id,
        product_id=row.product_id,
        merchant_id=row.merchant_id,
        code=row.code,
        title=f"{title} · {row.name}" if row.name else title,
        price=Money(row.price_amount, row.currency),
        active=row.active and row.status == "active",
    )


def skus_by_codes(merchant_id: int, codes: Sequence[str]) -> sa.Select[Any, Any]:
    return sa.select(skus.c.code, skus.c.product_id).where(skus.c.merchant_id == merchant_id, skus.c.code.in_(codes))


def products_of_codes(tx: Tx, merchant_id: int, codes: Sequence[str]) -> dict[str, int]:
    """Product ids by those of the SKU codes that the merchant uses."""
    return {row.code: row.product_id for row in tx.execute(skus_by_codes(merchant_id, codes))}


def insert_products(tx: Tx, created: Sequence[Product]) -> None:
    if created:
        tx.execute(sa.insert(products), [_product_row(product) for product in created])


def insert_skus(tx: Tx, of_products: Sequence[Product], known: Mapping[int, Product]) -> None:
    """The SKUs that the `known` (earlier) versions of the products do not have."""
    rows: list[dict[str, Any]] = []
    for product in of_products:
        start = len(known[product.id].skus) if product.id in known else 0
        rows += [_sku_row(product, position) for position in range(start, len(product.skus))]
    if rows:
        tx.execute(sa.insert(skus), rows)


def add_sku(tx: Tx, product: Product, position: int) -> bool:
    """Inserts one SKU of the product; False if the merchant uses its code already."""
    return tx.insert_if_absent(skus, _sku_row(product, position))


_UPDATE_PRODUCT = (
    sa.update(products)
    .where(products.c.id == sa.bindparam("of_id"), products.c.version == sa.bindparam("of_version"))
    .values(
        {
            column.name: sa.bindparam(column.name)
            for column in products.c
            if column.name not in ("id", "merchant_id", "created_ms")
        }
    )
)
_UPDATE_SKU = (
    sa.update(skus)
    .where(skus.c.id == sa.bindparam("of_id"))
    .values({name: sa.bindparam(name) for name in ("name", "price_amount", "currency", "active")})
)


def update_product(tx: Tx, before: Product, after: Product) -> bool:
    """Whether the product was still as it was before."""
    return tx.execute(_UPDATE_PRODUCT, _product_change(before, after)).rowcount == 1


def update_products(tx: Tx, changes: Sequence[tuple[Product, Product]]) -> None:
    """(before, after) of products that this transaction has locked."""
    if changes:
        tx.execute(_UPDATE_PRODUCT, [_product_change(before, after) for before, after in changes])


def update_skus(tx: Tx, changes: Sequence[tuple[Product, Product]]) -> None:
    """Those SKUs of the (before, after) products that differ."""
    rows = [
        {
            "of_id": sku.id,
            "name": sku.name,
            "price_amount": sku.price.amount,
            "currency": sku.price.currency,
            "active": sku.active,
        }
        for before, after in changes
        for was, sku in zip(before.skus, after.skus, strict=False)  # new ones come last
        if sku != was
    ]
    if rows:
        tx.execute(_UPDATE_SKU, rows)


def skus_of(product_ids: Sequence[int]) -> sa.Select[Any]:
    statement = sa.select(skus).where(skus.c.product_id.in_(product_ids))
    return statement.order_by(skus.c.product_id, skus.c.position)


def _with_skus(tx: Tx, rows: Sequence[sa.Row[Any]]) -> list[Product]:
    if not rows:
        return []
    of_product: defaultdict[int, list[Sku]] = defaultdict(list)
    for row in tx.execute(skus_of([row.id for row in rows])):
        price = Money(row.price_amount, row.currency)
        of_product[row.product_id].append(Sku(row.id, row.code, row.name, price, row.active))
    return [_product(row, tuple(of_product[row.id])) for row in rows]


def _product(row: sa.Row[Any], of_product: tuple[Sku, ...]) -> Product:
    return Product(
        id=row.id,
        merchant_id=row.merchant_id,
        title=Bilingual(row.title_en, row.title_zh),
        description=Bilingual(row.description_en, row.description_zh),
        category=row.category,
        brand=row.brand,
        media=_urls.decode(row.media),
        status=row.status,
        version=row.version,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        skus=of_product,
    )


def _product_row(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        "merchant_id": product.merchant_id,
        "title_en": product.title.en,
        "title_zh": product.title.zh,
        "description_en": product.description.en,
        "description_zh": product.description.zh,
        "category": product.category,
        "brand": product.brand,
        "media": _encode(product.media).decode(),
        "status": product.status,
        "version": product.version,
        "created_ms": product.created_ms,
        "updated_ms": product.updated_ms,
    }


def _product_change(before: Product, after: Product) -> dict[str, Any]:
    row = _product_row(after)
    del row["id"], row["merchant_id"], row["created_ms"]
    return {**row, "of_id": before.id, "of_version": before.version}


def _sku_row(product: Product, position: int) -> dict[str, Any]:
    sku = product.skus[position]
    return {
        "id": sku.id,
        "product_id": product.id,
        "position": position,
        "merchant_id": product.merchant_id,
        "code": sku.code,
        "name": sku.name,
        "price_amount": sku.price.amount,
        "currency": sku.price.currency,
        "active": sku.active,
    }
