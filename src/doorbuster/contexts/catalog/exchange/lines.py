"""Lines of a file of unknown origin, and what was found in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from doorbuster.contexts.catalog.model import ProductDraft
from doorbuster.contracts.catalog import LineProblem

LINE_BYTES_MAX = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Entry(Struct, frozen=True):
    """A product of a file, as it begins in `line`, or what is wrong with it.

    `codes` are its SKU codes with their lines and `label` its name within a CSV, to find those that occur twice;
    they are there also when the product is wrong otherwise.
    """

    line: int
    draft: ProductDraft | None
    problems: tuple[LineProblem, ...] = ()
    codes: tuple[tuple[str, int], ...] = ()
    label: str | None = None


class Unreadable(Exception):
    """The file, or the rest of it, cannot be read at all."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines with their ends; None for a line longer than LINE_BYTES_MAX, which is passed over.

    Raises Unreadable for UTF-16.
    """
    number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        if number == 1:
            if line.startswith(_UTF16_MARKS):
                raise Unreadable(1, "the file is UTF-16; save it as UTF-8")
            line = line.removeprefix(_UTF8_MARK)
        if len(line) < LINE_BYTES_MAX or line.endswith(b"\n"):
            yield number, line
            continue
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(LINE_BYTES_MAX)
        yield number, None


def shown(text: str) -> str:
    """For messages: quoted, and no longer than a glance."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
