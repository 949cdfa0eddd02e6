"""JSON lines: a product per line, with its SKUs inside, as the API shows it (without ids and times)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta, Struct

from doorbuster.contexts.catalog.exchange.lines import LINE_BYTES_MAX, Entry, lines_of
from doorbuster.contexts.catalog.model import ProductDraft, SkuDraft, problems_of
from doorbuster.contracts.catalog import Bilingual, LineProblem, Product, ProductStatus
from doorbuster.kernel.money import AMOUNT_MAX, Money


class _Price(Struct, frozen=True, forbid_unknown_fields=True):
    amount: Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)]


class _SkuLine(Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    price: _Price
    name: str = ""
    active: bool = True


class _ProductLine(Struct, frozen=True, forbid_unknown_fields=True):
    title: Bilingual
    category: str
    skus: tuple[_SkuLine, ...]
    description: Bilingual = Bilingual()
    brand: str = ""
    media: tuple[str, ...] = ()
    status: ProductStatus = "draft"

    def draft(self) -> ProductDraft:
        skus = tuple(
            SkuDraft(sku.code, Money(sku.price.amount, sku.price.currency), sku.name, sku.active) for sku in self.skus
        )
        return ProductDraft(self.title, self.category, skus, self.description, self.brand, self.media, self.status)


_decode = msgspec.json.Decoder(_ProductLine).decode
_encode = msgspec.json.Encoder().encode
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def read(file: BinaryIO) -> Iterator[Entry]:
    """An entry per line that is not blank. Raises Unreadable."""
    for number, line in lines_of(file):
        if line is None:
            problem = LineProblem(number, "", f"is longer than {LINE_BYTES_MAX} bytes")
            yield Entry(number, None, (problem,))
        elif line.strip():
            yield _entry(number, line)


def _entry(number: int, line: bytes) -> Entry:
    try:
        draft = _decode(line).draft()
    except msgspec.ValidationError as error:
        message = str(error)
        path = _PATH.search(message)
        problem = LineProblem(number, path[1] if path else "", message[: path.start()] if path else message)
        return Entry(number, None, (problem,))
    except UnicodeDecodeError:
        return Entry(number, None, (LineProblem(number, "", "is not UTF-8"),))
    except (msgspec.DecodeError, RecursionError) as error:
        return Entry(number, None, (LineProblem(number, "", f"is not JSON: {error}"),))
    problems = tuple(LineProblem(number, found.path, found.problem) for found in problems_of(draft))
    codes = tuple({sku.code: number for sku in draft.skus}.items())
    return Entry(number, None if problems else draft, problems, codes)


def written(products: Sequence[Product]) -> bytes:
    return b"".join(_encode(_line(product)) + b"\n" for product in products)


def _line(product: Product) -> _ProductLine:
    skus = tuple(
        _SkuLine(sku.code, _Price(sku.price.amount, sku.price.currency), sku.name, sku.active) for sku in product.skus
    )
    return _ProductLine(
        product.title, product.category, skus, product.description, product.brand, product.media, product.status
    )
