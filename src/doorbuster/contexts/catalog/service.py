"""Use cases of the catalogue: publish products, change them, find them, carry them in and out of files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import BinaryIO

from doorbuster.contexts.catalog import store
from doorbuster.contexts.catalog.copies import Copies
from doorbuster.contexts.catalog.exchange import csv_format, jsonl_format
from doorbuster.contexts.catalog.exchange.importing import OnProgress, import_file
from doorbuster.contexts.catalog.model import (
    ProductChange,
    ProductDraft,
    check,
    check_seller,
    draft_after,
    editable,
    new_product,
    revised,
    visible,
)
from doorbuster.contracts.catalog import (
    FileFormat,
    ImportReport,
    Product,
    ProductChanged,
    ProductPublished,
    SkuCodeTaken,
    SkuFacts,
    SkuNotFound,
)
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.fallback import FEATURES, Degradable
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page

NAME = "catalog"
SKUS_PAGE = 5_000
CATEGORIES_STAND_IN_MS = 10 * 60_000
EXPORT_PAGE = 200
"""Products per page of an export: up to 10,000 SKUs in memory."""


class CatalogService:
    def __init__(self, platform: Platform, database: Database, copies: Copies) -> None:
        self._platform = platform
        self._database = database
        self._copies = copies
        features = platform.runtime.live(FEATURES)
        self._categories: Degradable[Sequence[str]] = Degradable(
            "categories",
            self._read_categories,
            platform.clock.now_ms,
            enabled=lambda: features().fresh_categories,
            cached_for_ms=CATEGORIES_STAND_IN_MS,
        )

    # --- products -----------------------------------------------------------------------------------------------

    async def create(self, principal: Principal, key: str, draft: ProductDraft) -> Product:
        """A new product of this merchant (or admin): the same one for the same key.

        Raises Forbidden, ProductInvalid, SkuCodeTaken, IdempotencyKeyReused.
        """
        check_seller(principal)
        check(draft)
        now_ms = self._platform.clock.now_ms()
        merchant_id = principal.account_id

        def create(tx: Tx) -> Product:
            product = new_product(draft, merchant_id, now_ms, lambda: self._platform.ids.next(merchant_id))
            store.insert_products(tx, [product])
            _add_skus(tx, product, 0)
            emit(tx, [ProductPublished(product.id, product.version)], now_ms)
            return product

        scope = f"product:{merchant_id}"
        product = await self._database.write(
            lambda tx: once(tx, scope, key, draft, Product, now_ms, lambda: create(tx))
        )
        self._copies.forget_lists()
        self._platform.wakeups.wake(NAME)
        return product

    async def change(self, principal: Principal, product_id: int, change: ProductChange) -> Product:
        """The product after the change, or as it is if it looks like that already.

        Raises Forbidden, ProductNotFound, NotYourProduct, ProductChanged, ProductInvalid, SkuCodeTaken.
        """
        check_seller(principal)
        now_ms = self._platform.clock.now_ms()

        def work(tx: Tx) -> Product:
            found = store.find(tx, [product_id], lock=True)
            before = editable(found[0] if found else None, principal, change.version)
            draft = draft_after(before, change)
            after = revised(before, draft, now_ms, lambda: self._platform.ids.next(before.merchant_id))
            if after is before:
                return before
            if not store.update_product(tx, before, after):
                raise ProductChanged
            store.update_skus(tx, [(before, after)])
            _add_skus(tx, after, len(before.skus))
            emit(tx, [ProductPublished(after.id, after.version)], now_ms)
            return after

        with self._copies.products.changing(str(product_id)) as change_of_copy:
            product = await self._database.write(work)
            change_of_copy.done(product)
        self._copies.forget_lists()
        self._platform.wakeups.wake(NAME)
        await self._copies.products.settle()
        return product

    async def product(self, principal: Principal | None, product_id: int) -> Product:
        """As it was at most `cache.products.stale_ms` ago. Raises ProductNotFound, also for another's draft."""
        found = await self._copies.products.get_or_load(str(product_id), lambda: self._read_product(product_id))
        return visible(found, principal)

    async def _read_product(self, product_id: int) -> Product | None:
        found = await self._database.read(lambda tx: store.find(tx, [product_id]))
        return found[0] if found else None

    async def preload(self, sku_ids: Sequence[int]) -> None:
        """See contracts.catalog.Showcase."""
        found = await self._database.read(lambda tx: store.find_skus(tx, sku_ids))
        for product_id in {facts.product_id for facts in found}:
            await self._copies.products.preload(str(product_id), lambda of=product_id: self._read_product(of))

    async def products(self, after: int, limit: int, category: str | None = None) -> Page[Product]:
        """Products on sale with an id above `after`, oldest first, of one category or of all.

        As they were at most `cache.lists.stale_ms` ago.
        """
        page = await self._copies.pages.get_or_load(
            f"{after}:{limit}:{category or ''}", lambda: self._read_page(after, limit, category)
        )
        assert page is not None, "there is always a page, if an empty one"
        return page

    async def _read_page(self, after: int, limit: int, category: str | None) -> Page[Product]:
        statement = store.active_page(after, limit + 1, category)
        found = await self._database.read(lambda tx: store.page(tx, statement))
        more = len(found) > limit
        return Page(found[:limit], found[limit - 1].id if more else None)

    async def categories(self) -> Sequence[str]:
        """Categories that have a product on sale, in order, at most store.CATEGORIES_MAX.

        While the database does not answer, those that were last read, for CATEGORIES_STAND_IN_MS at most.
        """
        return (await self._categories.get()).value

    async def _read_categories(self) -> Sequence[str]:
        found = await self._copies.categories.get_or_load("all", lambda: self._database.read(store.categories))
        return found or []

    async def sku(self, sku_id: int) -> SkuFacts:
        """See contracts.catalog.Catalog."""
        facts = await self._database.read(lambda tx: store.find_sku(tx, sku_id))
        if facts is None:
            raise SkuNotFound
        return facts

    async def skus(self, sku_ids: Sequence[int]) -> Mapping[int, SkuFacts]:
        """See contracts.catalog.Prices."""
        found = await self._database.read(lambda tx: store.find_skus(tx, sku_ids))
        return {facts.sku_id: facts for facts in found}

    async def skus_of(self, merchant_id: int) -> Sequence[int]:
        """The ids of all SKUs of a merchant; read in pages."""
        found: list[int] = []
        after = ""
        while True:
            page = await self._database.read(
                lambda tx, after=after: store.skus_of_merchant(tx, merchant_id, after, SKUS_PAGE)
            )
            if not page:
                return found
            found += [sku_id for _, sku_id in page]
            after = page[-1][0]

    # --- files --------------------------------------------------------------------------------------------------

    async def import_products(
        self,
        source: BinaryIO,
        file_format: FileFormat,
        merchant_id: int,
        on_progress: OnProgress | None = None,
    ) -> ImportReport:
        """Creates and changes products of a merchant as the file says, all of it or nothing; see `exchange`.

        For operators: acts as the merchant. `on_progress` may be called on another thread.
        Raises what Database.write raises; then nothing was written (except after OutcomeUnknown: import again).
        """
        report = await import_file(self._platform, self._database, source, file_format, merchant_id, on_progress)
        if report.ok:
            self._platform.wakeups.wake(NAME)
        return report

    async def export_products(self, file_format: FileFormat, merchant_id: int) -> AsyncIterator[bytes]:
        """All products of a merchant in the format that `import_products` reads, in pieces.

        Every product is whole; products that change meanwhile may be exported before or after their change.
        """
        written = jsonl_format.written if file_format == "jsonl" else csv_format.written
        if file_format == "csv":
            yield csv_format.HEADER
        after = 0
        while True:
            statement = store.merchant_page(merchant_id, after, EXPORT_PAGE)
            found = await self._database.read(lambda tx, statement=statement: store.page(tx, statement))
            if not found:
                return
            yield written(found)
            after = found[-1].id


def _add_skus(tx: Tx, product: Product, start: int) -> None:
    """Inserts the SKUs from `start` on. Raises SkuCodeTaken."""
    for position in range(start, len(product.skus)):
        if not store.add_sku(tx, product, position):
            code = product.skus[position].code
            raise SkuCodeTaken(f"another product has a SKU with the code {code!r}", code=code)
