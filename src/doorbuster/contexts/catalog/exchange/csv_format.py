"""CSV: a row per SKU. Rows of one product follow each other, carry the same `product` (any name that is unique in
the file; an export takes the code of the first SKU) and repeat the same product columns.

`media` holds addresses separated by spaces; `amount` is in minor units; `active` is true or false. In a cell that a
spreadsheet would take for a formula (=, +, -, @ in front) an apostrophe stands first, here as there.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, get_args

from msgspec import Struct

from doorbuster.contexts.catalog.exchange.lines import LINE_BYTES_MAX, Entry, Unreadable, lines_of, shown
from doorbuster.contexts.catalog.model import SKUS_MAX, Problem, ProductDraft, SkuDraft, problems_of
from doorbuster.contracts.catalog import Bilingual, LineProblem, Product, ProductStatus, Sku
from doorbuster.kernel.money import AMOUNT_MAX, Money

PRODUCT_COLUMNS = (
    "title_en",
    "title_zh",
    "description_en",
    "description_zh",
    "category",
    "brand",
    "media",
    "status",
)
SKU_COLUMNS = ("sku", "sku_name", "amount", "currency", "active")
COLUMNS = ("product", *PRODUCT_COLUMNS, *SKU_COLUMNS)

_COLUMN_OF_SKU_FIELD = {"code": "sku", "name": "sku_name", "price.amount": "amount"}
_AMOUNT = re.compile(r"[0-9]{1,14}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_FORMULA = re.compile(r"'*[=+\-@]")
_GUARDED = re.compile(r"'+[=+\-@]")
_STATUSES = get_args(ProductStatus)
_FREE = Money(0, "XXX")
"""Stands for a price that cannot be read, so that the rest of the row is still looked at."""


class _Row(Struct, frozen=True):
    """A row from its first line on, with cells by column."""

    line: int
    cells: dict[str, str]


def read(file: BinaryIO) -> Iterator[Entry]:
    """An entry per product, and one per row that cannot be read. Raises Unreadable."""
    rows = _rows(file)
    header = next(rows, None)
    if header is None:
        raise Unreadable(1, "the file is empty; the first line must name the columns")
    if isinstance(header[1], LineProblem):
        raise Unreadable(1, f"the line of column names {header[1].problem}")
    columns = header[1]
    if problems := tuple(_header_problems(columns)):
        yield Entry(1, None, problems)
        return
    group: list[_Row] = []
    for line, cells in rows:
        if isinstance(cells, LineProblem):
            yield Entry(line, None, (cells,))
        elif len(cells) != len(columns):
            counts = f"has {len(cells)} cells, and there are {len(columns)} columns"
            yield Entry(line, None, (LineProblem(line, "", counts),))
        else:
            row = _Row(line, dict(zip(columns, map(_unguarded, cells), strict=True)))
            if group and row.cells["product"] != group[0].cells["product"]:
                yield _entry(group)
                group = []
            if len(group) <= SKUS_MAX:  # one too many is reported; more would only cost memory
                group.append(row)
    if group:
        yield _entry(group)


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str] | LineProblem]]:
    """Rows with the lines they begin in; what is not UTF-8 is left as surrogates for the cells' checks."""
    too_long: list[int] = []
    reader = csv.reader(_text(file, too_long), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, LineProblem(line, "", f"is not CSV: {error}")
            continue
        if too_long:
            line = too_long[0]
            too_long.clear()
            yield line, LineProblem(line, "", f"is longer than {LINE_BYTES_MAX} bytes")
        elif cells:
            yield line, cells


def _text(file: BinaryIO, too_long: list[int]) -> Iterator[str]:
    for number, line in lines_of(file):
        if line is None:
            too_long.append(number)
            yield "\n"
        else:
            yield line.decode("utf-8", "surrogateescape")


def _header_problems(columns: Sequence[str]) -> Iterator[LineProblem]:
    for column in COLUMNS:
        if column not in columns:
            yield LineProblem(1, column, "this column is missing")
    for index, column in enumerate(columns):
        if column not in COLUMNS:
            yield LineProblem(1, shown(column), "there is no such column")
        elif column in columns[:index]:
            yield LineProblem(1, column, "this column occurs twice")


def _entry(group: Sequence[_Row]) -> Entry:
    """The product of these rows."""
    first = group[0]
    problems = [problem for row in group for problem in _row_problems(row, first)]
    known = {(problem.line, problem.field) for problem in problems}
    draft = _draft(group)
    for found in problems_of(draft):
        problem = _on_row(found, group)
        if (problem.line, problem.field) not in known:
            problems.append(problem)
    problems.sort(key=lambda problem: problem.line)
    codes = tuple({row.cells["sku"]: row.line for row in reversed(group) if row.cells["sku"]}.items())
    label = first.cells["product"] or None
    return Entry(first.line, None if problems else draft, tuple(problems), codes, label)


def _row_problems(row: _Row, first: _Row) -> Iterator[LineProblem]:
    """What the row alone shows, and where it differs from its product's first row."""
    for column, cell in row.cells.items():
        if _NOT_UTF8.search(cell):
            yield LineProblem(row.line, column, "is not UTF-8")
    if not row.cells["product"]:
        yield LineProblem(row.line, "product", "must not be empty: it tells which rows are one product")
    for column in PRODUCT_COLUMNS:
        if row.cells[column] != first.cells[column]:
            yield LineProblem(row.line, column, f"differs from line {first.line}, which is the same product")
    if wrong := _wrong_amount(row.cells["amount"]):
        yield LineProblem(row.line, "amount", wrong)
    if not _CURRENCY.fullmatch(row.cells["currency"]):
        yield LineProblem(row.line, "currency", "must be an ISO 4217 code like CNY")
    if row.cells["active"] not in ("true", "false"):
        yield LineProblem(row.line, "active", "must be true or false")


def _wrong_amount(cell: str) -> str | None:
    if cell.startswith("-"):
        return "must not be negative"
    if not _AMOUNT.fullmatch(cell) or int(cell) > AMOUNT_MAX:
        return f"must be a whole number of minor units, at most {AMOUNT_MAX}: {shown(cell)}"
    return None


def _draft(group: Sequence[_Row]) -> ProductDraft:
    cells = group[0].cells
    status = cells["status"]
    return ProductDraft(
        title=Bilingual(cells["title_en"] or None, cells["title_zh"] or None),
        category=cells["category"],
        skus=tuple(_sku(row.cells) for row in group),
        description=Bilingual(cells["description_en"] or None, cells["description_zh"] or None),
        brand=cells["brand"],
        media=tuple(cells["media"].split()),
        status=status,  # pyright: ignore[reportArgumentType] # problems_of refuses any other
    )


def _sku(cells: dict[str, str]) -> SkuDraft:
    readable = _wrong_amount(cells["amount"]) is None and _CURRENCY.fullmatch(cells["currency"])
    price = Money(int(cells["amount"]), cells["currency"]) if readable else _FREE
    return SkuDraft(cells["sku"], price, cells["sku_name"], cells["active"] == "true")


def _on_row(found: Problem, group: Sequence[_Row]) -> LineProblem:
    """A problem of the draft, in the words of the file: its line and column."""
    if found.sku is not None:
        return LineProblem(group[found.sku].line, _COLUMN_OF_SKU_FIELD[found.field], found.problem)
    if found.field == "skus":
        return LineProblem(group[-1].line, "product", f"has more than {SKUS_MAX} rows")
    if found.field == "title":
        return LineProblem(group[0].line, "title_en", "or title_zh is needed")
    return LineProblem(group[0].line, found.field.replace(".", "_"), found.problem)


def _guarded(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    """The cell as it was meant, with the line breaks that we know."""
    cell = cell.replace("\r\n", "\n")
    return cell[1:] if _GUARDED.match(cell) else cell


def written(products: Sequence[Product]) -> bytes:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    for product in products:
        shared = _product_cells(product)
        rows.writerows([*map(_guarded, shared), *map(_guarded, _sku_cells(sku))] for sku in product.skus)
    return text.getvalue().encode()


def _product_cells(product: Product) -> list[str]:
    return [
        product.skus[0].code,
        product.title.en or "",
        product.title.zh or "",
        product.description.en or "",
        product.description.zh or "",
        product.category,
        product.brand,
        " ".join(product.media),
        product.status,
    ]


def _sku_cells(sku: Sku) -> list[str]:
    return [sku.code, sku.name, str(sku.price.amount), sku.price.currency, "true" if sku.active else "false"]


HEADER = (",".join(COLUMNS) + "\r\n").encode()
