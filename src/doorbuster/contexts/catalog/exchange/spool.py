"""Checked products on disk: an import needs memory for a few hundred at a time, however large the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from doorbuster.contexts.catalog.exchange.lines import Entry, Unreadable
from doorbuster.contexts.catalog.model import ProductDraft
from doorbuster.contracts.catalog import LineProblem

FILE_SKUS_MAX = 1_000_000
_FLUSH_EVERY = 1000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ProductDraft).decode

_SCHEMA = """
    PRAGMA journal_mode = OFF;
    CREATE TABLE drafts (line INTEGER PRIMARY KEY, draft BLOB NOT NULL);
    CREATE TABLE seen (kind TEXT NOT NULL, key TEXT NOT NULL, line INTEGER NOT NULL);
    CREATE VIEW repeated AS SELECT kind, key, line, first FROM (
        SELECT kind, key, line, first_value(line) OVER same AS first, row_number() OVER same AS nth
        FROM seen WINDOW same AS (PARTITION BY kind, key ORDER BY line)
    ) WHERE nth > 1;
"""


class Placed(Struct, frozen=True):
    """A product and the line of the file it begins in."""

    line: int
    draft: ProductDraft


class Spool:
    """A private temporary SQLite file: gone when closed, also when the process dies."""

    def __init__(self) -> None:
        self._disk = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._disk.executescript(_SCHEMA)
        self._drafts: list[tuple[int, bytes]] = []
        self._seen: list[tuple[str, str, int]] = []
        self.skus = 0

    def add(self, entry: Entry) -> None:
        """Keeps the product, if it is one, and what must not occur twice in a file. Raises Unreadable."""
        if entry.draft is not None:
            self._drafts.append((entry.line, _encode(entry.draft)))
        self.skus += len(entry.codes)
        if self.skus > FILE_SKUS_MAX:
            raise Unreadable(entry.line, f"a file may hold {FILE_SKUS_MAX} SKUs; split it")
        self._seen += [("sku", _storable(code), line) for code, line in entry.codes]
        if entry.label is not None:
            self._seen.append(("product", _storable(entry.label), entry.line))
        if len(self._seen) >= _FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        self._disk.execute("BEGIN")
        self._disk.executemany("INSERT INTO drafts VALUES (?, ?)", self._drafts)
        self._disk.executemany("INSERT INTO seen VALUES (?, ?, ?)", self._seen)
        self._disk.execute("COMMIT")
        self._drafts, self._seen = [], []

    def repeated(self, limit: int) -> tuple[int, list[LineProblem]]:
        """How many SKU codes and labels occurred before in the file, and the first `limit` of them."""
        (count,) = self._disk.execute("SELECT count(*) FROM repeated").fetchone()
        rows = self._disk.execute("SELECT * FROM repeated ORDER BY line LIMIT ?", (limit,)) if count else ()
        return count, [_repetition(*row) for row in rows]

    def batches(self, skus_min: int) -> Iterator[list[Placed]]:
        """All products in order of lines, in lists of about `skus_min` SKUs or a little more."""
        batch: list[Placed] = []
        size = 0
        for line, draft in self._disk.execute("SELECT line, draft FROM drafts ORDER BY line"):
            batch.append(Placed(line, _decode(draft)))
            size += len(batch[-1].draft.skus)
            if size >= skus_min:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def close(self) -> None:
        self._disk.close()


def _storable(text: str) -> str:
    """Bytes that were not UTF-8 came as surrogates, which cannot be stored; the line is refused for them anyway."""
    return text.encode(errors="backslashreplace").decode()


def _repetition(kind: str, key: str, line: int, first: int) -> LineProblem:
    if kind == "sku":
        return LineProblem(line, "sku", f"the code {key[:80]!r} is in line {first} already")
    return LineProblem(line, "product", f"rows of one product must follow each other; it began in line {first}")
