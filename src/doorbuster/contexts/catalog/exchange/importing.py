"""The two halves of an import: read everything, then write everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import BinaryIO

from doorbuster.contexts.catalog import store
from doorbuster.contexts.catalog.exchange import csv_format, jsonl_format
from doorbuster.contexts.catalog.exchange.lines import Entry, Unreadable
from doorbuster.contexts.catalog.exchange.spool import Placed, Spool
from doorbuster.contexts.catalog.model import SKUS_MAX, new_product, revised
from doorbuster.contracts.catalog import (
    FileFormat,
    ImportProgress,
    ImportReport,
    LineProblem,
    Product,
    ProductPublished,
)
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.errors import RowRejected

OnProgress = Callable[[ImportProgress], None]

ERRORS_SHOWN = 100
BATCH_SKUS = 500
ATTEMPTS_MAX = 3
"""How often an import is written anew because somebody else created one of its SKU codes at the same moment."""

_READ_PROGRESS_EVERY = 1000


class Problems:
    """Counts all problems and keeps the first ERRORS_SHOWN in order of lines."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[LineProblem] = []

    def add(self, problems: Sequence[LineProblem], count: int | None = None) -> None:
        """`count` if these are only the first of so many."""
        if not problems:
            return
        self.count += len(problems) if count is None else count
        self._kept = sorted([*self._kept, *problems], key=lambda problem: problem.line)[:ERRORS_SHOWN]

    def report(self, skus: int) -> ImportReport:
        return ImportReport(ok=False, skus=skus, failed=self.count, errors=tuple(self._kept))


class _Refused(Exception):
    """Rolls the transaction back: the file contradicts what is stored."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(f"{problems.count} problems")
        self.problems = problems


async def import_file(
    platform: Platform,
    database: Database,
    source: BinaryIO,
    file_format: FileFormat,
    merchant_id: int,
    on_progress: OnProgress | None,
) -> ImportReport:
    """See CatalogService.import_products."""
    tell = on_progress or _tell_nobody
    entries = jsonl_format.read(source) if file_format == "jsonl" else csv_format.read(source)
    with closing(Spool()) as spool:
        problems = await asyncio.to_thread(_read, entries, spool, tell)
        if problems.count:
            return problems.report(spool.skus)
        return await _write(platform, database, _Writing(platform, spool, merchant_id, tell))


def _read(entries: Iterator[Entry], spool: Spool, tell: OnProgress) -> Problems:
    """Checks and keeps every product of the file."""
    problems = Problems()
    told = 0
    try:
        for entry in entries:
            problems.add(entry.problems)
            spool.add(entry)
            if spool.skus - told >= _READ_PROGRESS_EVERY:
                told = spool.skus
                tell(ImportProgress("reading", told))
    except Unreadable as unreadable:
        problems.add([LineProblem(unreadable.line, "", unreadable.problem)])
    spool.flush()
    count, repeated = spool.repeated(ERRORS_SHOWN)
    problems.add(repeated, count)
    tell(ImportProgress("reading", spool.skus, spool.skus))
    return problems


async def _write(platform: Platform, database: Database, writing: _Writing) -> ImportReport:
    for attempt in range(1, ATTEMPTS_MAX + 1):
        now_ms = platform.clock.now_ms()
        try:
            return await database.write(lambda tx, now_ms=now_ms: writing.write(tx, now_ms))
        except _Refused as refused:
            return refused.problems.report(writing.spool.skus)
        except RowRejected:
            # Everything was checked before: only a code that was free a moment ago can be refused.
            if attempt == ATTEMPTS_MAX:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


class _Writing:
    """The transaction of an import. It may run again, so it keeps nothing."""

    def __init__(self, platform: Platform, spool: Spool, merchant_id: int, tell: OnProgress) -> None:
        self.spool = spool
        self._platform = platform
        self._merchant_id = merchant_id
        self._tell = tell

    def write(self, tx: Tx, now_ms: int) -> ImportReport:
        """Raises _Refused with everything that contradicts the stored products."""
        problems = Problems()
        line_of: dict[int, int] = {}  # of products that existed before: two in the file may turn out to be one
        created = updated = unchanged = done = 0
        for batch in self.spool.batches(BATCH_SKUS):
            new, changes, same = self._resolved(tx, batch, line_of, problems, now_ms)
            if not problems.count:
                _store(tx, new, changes, now_ms)
            created, updated, unchanged = created + len(new), updated + len(changes), unchanged + same
            done += sum(len(placed.draft.skus) for placed in batch)
            self._tell(ImportProgress("writing", done, self.spool.skus))
        if problems.count:
            raise _Refused(problems)
        return ImportReport(True, self.spool.skus, created, updated, unchanged)

    def _resolved(
        self, tx: Tx, batch: Sequence[Placed], line_of: dict[int, int], problems: Problems, now_ms: int
    ) -> tuple[list[Product], list[tuple[Product, Product]], int]:
        """Which products of the batch are new, which (before, after) change, and how many are as wanted."""
        codes = [sku.code for placed in batch for sku in placed.draft.skus]
        owners = store.products_of_codes(tx, self._merchant_id, codes)
        existing = {product.id: product for product in store.find(tx, sorted(set(owners.values())), lock=True)}
        new: list[Product] = []
        changes: list[tuple[Product, Product]] = []
        same = 0
        for placed in batch:
            ids = {owners[sku.code] for sku in placed.draft.skus if sku.code in owners}
            if not ids:
                new.append(new_product(placed.draft, self._merchant_id, now_ms, self._next_id))
                continue
            before = existing[min(ids)]
            after = revised(before, placed.draft, now_ms, self._next_id)
            if problem := _contradiction(placed.line, ids, after, line_of):
                problems.add([problem])
            elif after is before:
                same += 1
            else:
                changes.append((before, after))
        return new, changes, same

    def _next_id(self) -> int:
        return self._platform.ids.next(self._merchant_id)


def _contradiction(line: int, ids: set[int], after: Product, line_of: dict[int, int]) -> LineProblem | None:
    if len(ids) > 1:
        return LineProblem(line, "sku", f"the SKU codes belong to {len(ids)} different products of the shop")
    earlier = line_of.setdefault(after.id, line)
    if earlier != line:
        return LineProblem(line, "sku", f"the product in line {earlier} is the same product of the shop")
    if len(after.skus) > SKUS_MAX:
        return LineProblem(
            line, "sku", f"the product would have {len(after.skus)} SKUs; at most {SKUS_MAX} are allowed"
        )
    return None


def _store(tx: Tx, new: Sequence[Product], changes: Sequence[tuple[Product, Product]], now_ms: int) -> None:
    changed = [after for _, after in changes]
    store.insert_products(tx, new)
    store.update_products(tx, changes)
    store.update_skus(tx, changes)
    store.insert_skus(tx, [*new, *changed], {before.id: before for before, _ in changes})
    emit(tx, [ProductPublished(product.id, product.version) for product in [*new, *changed]], now_ms)


def _tell_nobody(_progress: ImportProgress) -> None:
    """For imports that nobody watches."""
