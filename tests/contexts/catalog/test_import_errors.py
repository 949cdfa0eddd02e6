"""Files as they come: every fault is named with its line, and reading goes on behind it."""

from __future__ import annotations

import io

import msgspec
import pytest

from contexts.catalog.goods import draft
from doorbuster.contexts.catalog.exchange import csv_format, jsonl_format
from doorbuster.contexts.catalog.exchange.lines import LINE_BYTES_MAX, Entry, Unreadable, lines_of
from doorbuster.contracts.catalog import Bilingual

COLUMNS = list(csv_format.COLUMNS)
GOOD = {
    "product": "P",
    "title_en": "Tea Tray",
    "category": "tea",
    "status": "active",
    "sku": "T-1",
    "amount": "1990",
    "currency": "CNY",
    "active": "true",
}


def csv_row(**cells: str) -> str:
    return ",".join({**GOOD, **cells}.get(column, "") for column in COLUMNS)


def csv_entries(*rows: str | bytes, header: str | None = None, end: bytes = b"\r\n") -> list[Entry]:
    lines = [",".join(COLUMNS) if header is None else header, *rows]
    text = b"".join((line if isinstance(line, bytes) else line.encode()) + end for line in lines)
    return list(csv_format.read(io.BytesIO(text)))


def problems(entries: list[Entry]) -> list[tuple[int, str]]:
    return [(problem.line, problem.field) for entry in entries for problem in entry.problems]


def good(entries: list[Entry]) -> list[int]:
    return [entry.line for entry in entries if entry.draft is not None]


@pytest.mark.parametrize(
    ("cells", "column", "words"),
    [
        ({"product": ""}, "product", "must not be empty"),
        ({"title_en": ""}, "title_en", "or title_zh is needed"),
        ({"title_en": " Tray"}, "title_en", "white space"),
        ({"title_zh": "茶\u200e盘\ufeff"}, "title_zh", "U+FEFF"),
        ({"description_en": "x" * 5001}, "description_en", "5001 characters"),
        ({"category": "Tea Pots"}, "category", "slug"),
        ({"category": ""}, "category", "slug"),
        ({"brand": "b" * 101}, "brand", "101 characters"),
        ({"media": "ftp://a.example/x"}, "media", "http"),
        ({"status": "sold"}, "status", "must be one of draft, active, archived"),
        ({"status": ""}, "status", "must be one of"),
        ({"sku": ""}, "sku", "letters"),
        ({"sku": "a b"}, "sku", "letters"),
        ({"sku_name": "n" * 101}, "sku_name", "101 characters"),
        ({"amount": "-1"}, "amount", "must not be negative"),
        ({"amount": "19.90"}, "amount", "whole number of minor units"),
        ({"amount": ""}, "amount", "whole number"),
        ({"amount": "１９"}, "amount", "whole number"),
        ({"amount": "10000000000001"}, "amount", "at most 10000000000000"),
        ({"amount": "9" * 5000}, "amount", "whole number"),
        ({"currency": "RMB元"}, "currency", "ISO 4217"),
        ({"currency": ""}, "currency", "ISO 4217"),
        ({"active": "yes"}, "active", "true or false"),
    ],
)
def test_a_wrong_cell_is_named_and_reading_goes_on(cells, column, words):
    entries = csv_entries(csv_row(**cells), csv_row(product="Q", sku="T-2"))
    assert problems(entries) == [(2, column)]
    assert words in entries[0].problems[0].problem
    assert good(entries) == [3]


def test_all_wrong_cells_of_a_row_are_named():
    entries = csv_entries(csv_row(amount="-1", currency="x", category="?", active=""))
    assert {field for _, field in problems(entries)} == {"amount", "currency", "category", "active"}


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (",".join(COLUMNS[1:]), ["product"]),
        (",".join(c for c in COLUMNS if c not in ("sku", "amount")), ["sku", "amount"]),
        (",".join([*COLUMNS, "colour"]), ["'colour'"]),
        (",".join([*COLUMNS, "sku"]), ["sku"]),
        (",".join(COLUMNS).replace("amount", "Amount"), ["amount", "'Amount'"]),
        (";".join(COLUMNS), [*COLUMNS, f"'{';'.join(COLUMNS)[:40]}…'"]),
    ],
    ids=["missing", "two missing", "unknown", "twice", "other case", "other separator"],
)
def test_wrong_columns_are_named_and_nothing_is_read_into_them(header, fields):
    entries = csv_entries(csv_row(), header=header)
    assert problems(entries) == [(1, field) for field in fields]
    assert good(entries) == []


def test_columns_may_come_in_any_order():
    header = list(reversed(COLUMNS))
    row = ",".join(GOOD.get(column, "") for column in header)
    (entry,) = csv_entries(row, header=",".join(header))
    assert entry.draft is not None and entry.draft.skus[0].code == "T-1"


def test_a_row_with_other_than_its_cells_is_named():
    entries = csv_entries(csv_row() + ",extra", "only,two", csv_row(product="Q", sku="T-2"))
    assert problems(entries) == [(2, ""), (3, "")]
    assert good(entries) == [4]


def test_blank_lines_count_but_are_passed_over():
    entries = csv_entries("", csv_row(amount="x"), "", csv_row(product="Q", sku="T-2"))
    assert problems(entries) == [(3, "amount")]
    assert good(entries) == [5]


def test_cells_may_hold_line_breaks_and_lines_are_still_right():
    entries = csv_entries(csv_row(description_en='"One\r\nTwo\nThree"'), csv_row(product="Q", sku="T-2", amount="x"))
    assert entries[0].draft is not None
    assert entries[0].draft.description.en == "One\nTwo\nThree"
    assert problems(entries) == [(5, "amount")]


def test_rows_of_a_product_must_agree():
    entries = csv_entries(
        csv_row(),
        csv_row(sku="T-2", brand="Other", title_zh="茶"),
        csv_row(sku="T-3"),
    )
    assert problems(entries) == [(3, "title_zh"), (3, "brand")]
    assert "differs from line 2" in entries[0].problems[0].problem


def test_a_product_of_more_than_50_rows_is_named_once():
    entries = csv_entries(*(csv_row(sku=f"T-{n}") for n in range(60)), csv_row(product="Q", sku="X"))
    assert problems(entries) == [(52, "product")]
    assert good(entries) == [62]


def test_the_same_code_twice_in_a_product_is_named_at_the_second():
    assert problems(csv_entries(csv_row(), csv_row())) == [(3, "sku")]


def test_other_encodings_are_named_by_cell():
    entries = csv_entries(
        csv_row(brand="茶盘").encode("gbk"),
        csv_row(product="Q", sku="T-2", title_zh="茶盘").encode("gb18030"),
        csv_row(product="R", sku="T-3"),
    )
    assert problems(entries) == [(2, "brand"), (3, "title_zh")]
    assert {problem.problem for entry in entries for problem in entry.problems} == {"is not UTF-8"}
    assert good(entries) == [4]


def test_a_byte_order_mark_of_utf8_is_passed_over_and_utf16_is_refused():
    text = f"{','.join(COLUMNS)}\r\n{csv_row()}\r\n"
    assert good(list(csv_format.read(io.BytesIO(text.encode("utf-8-sig"))))) == [2]
    for encoding in ("utf-16", "utf-16-be"):
        raw = ("\ufeff" if encoding == "utf-16-be" else "") + text
        with pytest.raises(Unreadable, match="UTF-16"):
            list(csv_format.read(io.BytesIO(raw.encode(encoding))))
    with pytest.raises(Unreadable, match="UTF-16"):
        list(jsonl_format.read(io.BytesIO('{"a": 1}'.encode("utf-16"))))


def test_an_empty_file_has_no_columns():
    for text in (b"", b"\xef\xbb\xbf", b"\r\n\r\n"):
        with pytest.raises(Unreadable, match="is empty"):
            list(csv_format.read(io.BytesIO(text)))
    assert csv_entries() == []


def test_a_quote_that_is_never_closed_is_named():
    entries = csv_entries(csv_row(), csv_row(product="Q", sku="T-2", brand='"oops'), csv_row(sku="T-3"))
    assert good(entries) == [2]
    assert problems(entries) == [(3, "")]
    entries = csv_entries(csv_row(brand='"oops'), *(csv_row(sku=f"T-{n}") for n in range(5000)))
    assert problems(entries)[0] == (2, "")
    assert "field limit" in entries[0].problems[0].problem


def test_quotes_in_the_wrong_place_are_named_and_reading_goes_on():
    entries = csv_entries(csv_row(brand='"a"b'), csv_row(product="Q", sku="T-2"))
    assert problems(entries) == [(2, "")]
    assert good(entries) == [3]


def test_a_huge_cell_and_a_huge_line_are_named_and_reading_goes_on():
    entries = csv_entries(
        csv_row(brand="x" * 200_000),
        csv_row(product="Q", sku="T-2"),
        csv_row(brand="x" * (3 * LINE_BYTES_MAX)),
        csv_row(product="R", sku="T-3"),
    )
    assert problems(entries) == [(2, ""), (4, "")]
    assert "field limit" in entries[0].problems[0].problem
    assert sorted(good(entries)) == [3, 5]


def test_lines_are_bounded_whatever_they_end_in():
    size = LINE_BYTES_MAX
    text = b"a" * (size - 1) + b"\n" + b"b" * size + b"\n" + b"c" * (2 * size) + b"\nd\n" + b"e" * size
    found = [(number, line and line[:1]) for number, line in lines_of(io.BytesIO(text))]
    assert found == [(1, b"a"), (2, None), (3, None), (4, b"d"), (5, None)]


def json_line(**more) -> bytes:
    sku = {"code": "T-1", "price": {"amount": 1990, "currency": "CNY"}}
    line = {"title": {"en": "Tea Tray"}, "category": "tea", "skus": [sku], **more}
    return msgspec.json.encode(line)


def json_entries(*lines: bytes) -> list[Entry]:
    return list(jsonl_format.read(io.BytesIO(b"\n".join(lines))))


def price(amount: object, currency: object = "CNY", **more: object) -> list[object]:
    return [{"code": "T-1", "price": {"amount": amount, "currency": currency, **more}}]


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        (b"{", "", "is not JSON"),
        (b"nonsense", "", "is not JSON"),
        (b"[]", "", "Expected `object`"),
        (b"\xef\xbb\xbf{}", "", "is not JSON"),
        (b"{}", "", "missing required field `title`"),
        (json_line(colour="red"), "", "unknown field `colour`"),
        (json_line(id="5"), "", "unknown field `id`"),
        (json_line(title={"fr": "Plateau"}), "title", "unknown field `fr`"),
        (json_line(title={}), "title", "is needed"),
        (json_line(title=None), "title", "Expected `object`"),
        (json_line(title={"zh": "茶盘"}).replace("茶".encode(), b"\xb2\xe8"), "", "is not UTF-8"),
        (json_line(category=5), "category", "Expected `str`"),
        (json_line(status="sold"), "status", "Invalid enum value"),
        (json_line(skus=[]), "skus", "0 SKUs"),
        (json_line(skus=price(-1)), "skus[0].price.amount", ">= 0"),
        (json_line(skus=price(19.9)), "skus[0].price.amount", "got `float`"),
        (json_line(skus=price("1990")), "skus[0].price.amount", "got `str`"),
        (json_line(skus=price(10**14)), "skus[0].price.amount", "<= 10000000000000"),
        (json_line(skus=price(1, "cny")), "skus[0].price.currency", "regex"),
        (json_line(skus=price(1, "CNY\n")), "skus[0].price.currency", "length <= 3"),
        (json_line(skus=price(1, tax=2)), "skus[0].price", "unknown field `tax`"),
        (json_line(skus=price(1) * 2), "skus[1].code", "occurs twice"),
        (json_line(description={"en": "a\x00b"}), "description.en", "U+0000"),
        (json_line(brand="x" * (2 * LINE_BYTES_MAX)), "", "longer than"),
        (b"[" * 100_000, "", "Expected `object`"),
        (b'{"title":' + b"[" * 100_000, "title", "Expected `object`"),
    ],
)
def test_a_wrong_json_line_is_named_and_reading_goes_on(line, field, words):
    entries = json_entries(json_line(), line, b"", json_line())
    assert problems(entries) == [(2, field)]
    assert words in entries[1].problems[0].problem
    assert good(entries) == [1, 4]


def test_messages_stay_short_whatever_the_file_holds():
    entries = csv_entries(
        csv_row(amount="9" * 100_000, sku="s" * 100_000, category="c" * 100_000, status="x" * 100_000)
    )
    assert len(problems(entries)) == 4
    assert all(len(problem.problem) < 200 for problem in entries[0].problems)


def test_what_is_left_out_of_a_json_line_has_its_default():
    (entry,) = json_entries(json_line())
    assert entry.draft == draft("T-1", title=Bilingual("Tea Tray"), status="draft")
