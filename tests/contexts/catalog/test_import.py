"""Imports: everything or nothing, and the same file twice changes nothing."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator

import msgspec
import pytest

from contexts.catalog.goods import (
    MERCHANT,
    RIVAL,
    draft,
    event_rows,
    everything,
    product_rows,
    sku,
    sku_rows,
)
from doorbuster.contexts.catalog import store
from doorbuster.contexts.catalog.exchange import csv_format, importing, jsonl_format
from doorbuster.contexts.catalog.model import ProductChange, ProductDraft, SkuChange, new_product
from doorbuster.contracts.catalog import Bilingual, FileFormat, ImportProgress, ImportReport, LineProblem
from doorbuster.kernel.money import Money

WRITTEN = {"csv": csv_format.written, "jsonl": jsonl_format.written}
FORMATS = pytest.mark.parametrize("file_format", ["csv", "jsonl"])


def file_of(file_format: FileFormat, drafts: list[ProductDraft]) -> io.BytesIO:
    ids: Iterator[int] = iter(range(1, 10**9))
    body = WRITTEN[file_format]([new_product(wanted, 1, 1, ids.__next__) for wanted in drafts])
    return io.BytesIO((csv_format.HEADER if file_format == "csv" else b"") + body)


async def load(service, file_format: FileFormat, drafts: list[ProductDraft], merchant=MERCHANT) -> ImportReport:
    return await service.import_products(file_of(file_format, drafts), file_format, merchant.account_id)


async def exported(service, file_format: FileFormat, merchant=MERCHANT) -> bytes:
    return b"".join([piece async for piece in service.export_products(file_format, merchant.account_id)])


def assortment() -> list[ProductDraft]:
    """Everything that may go wrong on the way through a file."""
    return [
        draft(
            skus=(sku("T-1", 0, name="Small, or “小”"), sku("T-2", 10**13, active=False)),
            title=Bilingual('A "quoted", comma\'d; tray', "“茶盘”，大"),
            description=Bilingual("Two lines,\nand a\ttab; then\n\nmore", "=SUM(A1:A9)"),
            media=("https://a.example/1.jpg?x=1,2", "http://b.example:8080/%E8%8C%B6#top"),
            brand="'=quoted formula",
        ),
        draft("T-3", title=Bilingual(en="-20 °C Ice Pack"), status="draft", brand="@home"),
        draft("T-4", title=Bilingual(zh="+1 茶杯 🍵"), status="archived", brand="'tis"),
        draft(skus=tuple(sku(f"M-{n}", n, name=f"{n}") for n in range(50)), category="many-of-them"),
        draft(skus=(msgspec.structs.replace(sku("USD"), price=Money(1, "USD")),)),
    ]


@FORMATS
async def test_an_import_creates_what_the_file_says(service, database, file_format, platform):
    woken = platform.wakeups.subscribe("catalog")
    report = await load(service, file_format, assortment())
    assert report == ImportReport(ok=True, skus=55, created=5)
    assert woken.is_set()
    products = await product_rows(database)
    assert [row["title_zh"] for row in products] == ["“茶盘”，大", None, "+1 茶杯 🍵", "茶盘", "茶盘"]
    assert products[0]["description_zh"] == "=SUM(A1:A9)"
    assert products[0]["brand"] == "'=quoted formula"
    assert {row["merchant_id"] for row in products} == {MERCHANT.account_id}
    skus = await sku_rows(database)
    assert [(row["code"], row["price_amount"], row["active"]) for row in skus[:3]] == [
        ("T-1", 0, True),
        ("T-2", 10**13, False),
        ("T-3", 1990, True),
    ]
    assert [row["position"] for row in skus if row["code"].startswith("M-")] == list(range(50))
    events = [msgspec.json.decode(row["payload"]) for row in await event_rows(database)]
    assert [(event["product_id"], event["version"]) for event in events] == [(row["id"], 1) for row in products]


@FORMATS
async def test_an_export_is_read_back_unchanged(service, database, file_format):
    await load(service, "jsonl", assortment())
    await service.create(RIVAL, "k", draft("OTHER"))
    text = await exported(service, file_format)
    assert b"OTHER" not in text
    before = await everything(database)
    report = await service.import_products(io.BytesIO(text), file_format, MERCHANT.account_id)
    assert report == ImportReport(ok=True, skus=55, unchanged=5)
    assert await everything(database) == before
    # The same file makes the same catalogue for somebody else, and that exports the same bytes.
    report = await service.import_products(io.BytesIO(text), file_format, 4711)
    assert (report.created, report.failed) == (5, 0)
    assert b"".join([piece async for piece in service.export_products(file_format, 4711)]) == text


@FORMATS
async def test_an_export_holds_every_product_over_many_pages(service, file_format, monkeypatch):
    monkeypatch.setattr("doorbuster.contexts.catalog.service.EXPORT_PAGE", 3)
    await load(service, "jsonl", [draft(f"A-{n}") for n in range(10)])
    text = await exported(service, file_format)
    assert [f"A-{n}" in text.decode() for n in range(10)] == [True] * 10
    assert text.count(b"\n") == 10 + (file_format == "csv")


@FORMATS
async def test_a_merchant_without_products_exports_an_empty_file(service, file_format):
    text = await exported(service, file_format)
    assert text == (csv_format.HEADER if file_format == "csv" else b"")
    report = await service.import_products(io.BytesIO(text), file_format, MERCHANT.account_id)
    assert report == ImportReport(ok=True)


@FORMATS
async def test_an_import_changes_products_by_the_codes_of_their_skus(service, database, file_format, clock):
    await load(service, file_format, [draft("A", "B"), draft("C"), draft("D")])
    clock.advance(1000)
    report = await load(
        service,
        file_format,
        [
            draft(skus=(sku("B", 77), sku("E", 5)), title=Bilingual(en="New Tray")),
            draft("C"),
            draft("F"),
        ],
    )
    assert report == ImportReport(ok=True, skus=4, created=1, updated=1, unchanged=1)
    products = await product_rows(database)
    assert [(row["title_en"], row["version"]) for row in products] == [
        ("New Tray", 2),
        ("Tea Tray", 1),
        ("Tea Tray", 1),
        ("Tea Tray", 1),
    ]
    assert products[0]["title_zh"] is None
    of_first = [row for row in await sku_rows(database) if row["product_id"] == products[0]["id"]]
    assert [(row["code"], row["position"], row["price_amount"]) for row in of_first] == [
        ("A", 0, 1990),
        ("B", 1, 77),
        ("E", 2, 5),
    ]
    assert len(await event_rows(database)) == 5


@FORMATS
async def test_codes_of_other_merchants_are_none_of_its_business(service, database, file_format):
    await service.create(RIVAL, "k", draft("A"))
    before = await product_rows(database)
    assert (await load(service, file_format, [draft("A", brand="Mine")])).created == 1
    assert (await product_rows(database))[0] == before[0]


@FORMATS
@pytest.mark.parametrize("position", [0, 250, 499])
async def test_one_bad_line_anywhere_and_nothing_is_imported(service, database, file_format, position):
    await service.create(MERCHANT, "k", draft("OLD"))
    before = await everything(database)
    drafts = [draft(f"A-{n}") for n in range(500)]
    drafts[position] = draft(f"A-{position}", category="Not A Slug")
    report = await load(service, file_format, drafts)
    line = position + 1 + (file_format == "csv")
    assert (report.ok, report.failed, report.created) == (False, 1, 0)
    assert [(error.line, error.field) for error in report.errors] == [(line, "category")]
    assert await everything(database) == before


@FORMATS
async def test_a_failure_half_way_through_the_writing_leaves_no_row(service, database, file_format, monkeypatch):
    monkeypatch.setattr(importing, "BATCH_SKUS", 10)
    await load(service, file_format, [draft(f"A-{n}") for n in range(0, 100, 7)])
    before = await everything(database)
    batches = 0

    def failing(*arguments):
        nonlocal batches
        batches += 1
        if batches == 5:
            raise RuntimeError("the light is out")
        insert(*arguments)

    insert = store.insert_skus
    monkeypatch.setattr(store, "insert_skus", failing)
    with pytest.raises(RuntimeError, match="the light is out"):
        await load(service, file_format, [draft(f"A-{n}", brand="New") for n in range(100)])
    assert batches == 5
    assert await everything(database) == before


@FORMATS
async def test_what_contradicts_the_shop_is_told_by_line_and_nothing_is_imported(
    service, database, file_format, monkeypatch
):
    monkeypatch.setattr(importing, "BATCH_SKUS", 2)
    full = tuple(f"F-{n}" for n in range(50))
    await load(service, file_format, [draft("A", "B"), draft("C"), draft(*full)])
    before = await everything(database)
    drafts = [
        draft("NEW"),
        draft("A", "C"),  # two products of the shop
        draft("A1", "X", brand="Fine"),
        draft("B", brand="First"),
        draft("F-0", "F-50"),  # one too many
        draft("Y"),
    ]
    report = await load(service, file_format, drafts)
    lines = {"csv": [3, 8], "jsonl": [2, 5]}[file_format]
    assert [(error.line, error.field) for error in report.errors] == [(line, "sku") for line in lines]
    assert (report.ok, report.failed) == (False, 2)
    assert await everything(database) == before


@FORMATS
async def test_two_products_of_the_file_that_are_one_in_the_shop_are_refused(
    service, database, file_format, monkeypatch
):
    monkeypatch.setattr(importing, "BATCH_SKUS", 1)
    await load(service, file_format, [draft("A", "B")])
    before = await everything(database)
    report = await load(service, file_format, [draft("A"), draft("N"), draft("B", brand="Other")])
    line = {"csv": 4, "jsonl": 3}[file_format]
    assert [error.line for error in report.errors] == [line]
    assert "the same product" in report.errors[0].problem
    assert await everything(database) == before


@FORMATS
async def test_errors_are_shown_up_to_a_hundred_and_counted_all(service, database, file_format):
    report = await load(service, file_format, [draft(f"A-{n}", category="?") for n in range(250)])
    first = 2 if file_format == "csv" else 1
    assert (report.ok, report.failed) == (False, 250)
    assert [error.line for error in report.errors] == list(range(first, first + 100))
    assert await product_rows(database) == []


@FORMATS
async def test_codes_that_occur_twice_in_a_file_are_named(service, database, file_format):
    report = await load(service, file_format, [draft("A", "B"), draft("C"), draft("D", "B"), draft("C")])
    lines = {"csv": [(6, 3), (7, 4), (7, 4)], "jsonl": [(3, 1), (4, 2)]}[file_format]
    assert [error.line for error in report.errors] == [line for line, _ in lines]
    codes = [error for error in report.errors if error.field == "sku"]
    assert [error.problem for error in codes] == [
        f"the code 'B' is in line {lines[0][1]} already",
        f"the code 'C' is in line {lines[1][1]} already",
    ]
    assert await everything(database) == ([], [], [])


async def test_many_imports_of_the_same_file_at_once_import_it_once(service, database):
    drafts = [draft(f"A-{n}", f"B-{n}") for n in range(40)]
    reports = await asyncio.gather(*(load(service, "jsonl", drafts) for _ in range(4)))
    assert sorted((report.created, report.unchanged) for report in reports) == [(0, 40)] * 3 + [(40, 0)]
    assert (len(await product_rows(database)), len(await sku_rows(database))) == (40, 80)
    assert len(await event_rows(database)) == 40


async def test_changes_and_imports_of_one_product_at_once_lose_nothing(service, database):
    product = await service.create(MERCHANT, "k", draft("A"))
    change = ProductChange(1, brand="Changed", skus=(SkuChange("P", "p", Money(1, "CNY")),))
    outcomes = await asyncio.gather(
        service.change(MERCHANT, product.id, change),
        load(service, "jsonl", [draft("A", "I", brand="Imported")]),
        return_exceptions=True,
    )
    (row,) = await product_rows(database)
    codes = {row["code"] for row in await sku_rows(database)}
    assert row["version"] == 1 + sum(not isinstance(outcome, Exception) for outcome in outcomes)
    assert {"A", "I"} <= codes
    assert ("P" in codes) == (not isinstance(outcomes[0], Exception))


async def test_progress_is_told_while_reading_and_while_writing(service):
    told: list[ImportProgress] = []
    file = file_of("jsonl", [draft(f"A-{n}", f"B-{n}") for n in range(1500)])
    await service.import_products(file, "jsonl", MERCHANT.account_id, told.append)
    reading = [progress for progress in told if progress.stage == "reading"]
    writing = [progress for progress in told if progress.stage == "writing"]
    assert [progress.done for progress in reading] == [1000, 2000, 3000, 3000]
    assert reading[-1].total == 3000
    assert [progress.done for progress in writing] == list(range(500, 3001, 500))
    assert {progress.total for progress in writing} == {3000}


async def test_a_file_beyond_the_bound_is_refused(service, database, monkeypatch):
    monkeypatch.setattr("doorbuster.contexts.catalog.exchange.spool.FILE_SKUS_MAX", 5)
    report = await load(service, "jsonl", [draft(f"A-{n}", f"B-{n}") for n in range(4)])
    assert report.errors == (LineProblem(3, "", "a file may hold 5 SKUs; split it"),)
    assert await product_rows(database) == []


async def test_an_import_that_is_called_off_while_writing_leaves_no_row(service, database, monkeypatch):
    monkeypatch.setattr(importing, "BATCH_SKUS", 10)
    loop = asyncio.get_running_loop()

    def call_off(progress: ImportProgress) -> None:
        if progress.stage == "writing" and progress.done == 50:
            loop.call_soon_threadsafe(task.cancel)
        elif progress.stage == "writing":
            time.sleep(0.005)  # SQLite writes on a thread of its own: let the loop get its turn

    file = file_of("jsonl", [draft(f"A-{n}") for n in range(1000)])
    task = asyncio.create_task(service.import_products(file, "jsonl", MERCHANT.account_id, call_off))
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(lambda tx: None)  # behind whatever was under way
    assert await everything(database) == ([], [], [])
