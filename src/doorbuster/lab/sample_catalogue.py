"""The sample catalogue: 320 products of invented brands in 16 categories, in English and Chinese.

The same every time. Written as JSON lines, the format that the catalogue imports.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from itertools import product
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

CURRENCY = "CNY"


class _Kind(NamedTuple):
    en: str
    zh: str
    price_fen: int
    purpose_en: str
    purpose_zh: str


class _Style(NamedTuple):
    en: str
    zh: str
    percent: int
    merit_en: str
    merit_zh: str


class _Variant(NamedTuple):
    code: str
    name: str
    percent: int


class _Category(Struct, frozen=True, forbid_unknown_fields=True):
    slug: str
    code: str
    variants: tuple[_Variant, ...]
    kinds: tuple[_Kind, ...]
    styles: tuple[_Style, ...]


class _Stock(Struct, frozen=True, forbid_unknown_fields=True):
    brands: tuple[str, ...]
    categories: tuple[_Category, ...]


def sample_products() -> Iterator[dict[str, object]]:
    """Products as the import wants them, on sale."""
    text = resources.files("doorbuster.lab").joinpath("sample_catalogue.toml").read_text("utf-8")
    stock = msgspec.convert(tomllib.loads(text), _Stock)
    for row, category in enumerate(stock.categories):
        for (kind_number, kind), (style_number, style) in product(
            enumerate(category.kinds, 1), enumerate(category.styles, 1)
        ):
            # A style of a category is one brand's line.
            brand = stock.brands[(3 * row + style_number) % len(stock.brands)]
            code = f"{category.code}-{kind_number:02}{style_number:02}"
            yield _product(category, kind, style, brand, code)


def write_sample(path: Path) -> int:
    """Writes all products to `path` and returns how many there are."""
    lines = [msgspec.json.encode(sample) + b"\n" for sample in sample_products()]
    path.write_bytes(b"".join(lines))
    return len(lines)


def _product(category: _Category, kind: _Kind, style: _Style, brand: str, code: str) -> dict[str, object]:
    fen = kind.price_fen * style.percent // 100
    return {
        "title": {"en": f"{style.en} {kind.en}", "zh": f"{style.zh}{kind.zh}"},
        "category": category.slug,
        "brand": brand,
        "description": {
            "en": f"{kind.purpose_en} {style.merit_en}",
            "zh": f"{kind.purpose_zh}{style.merit_zh}",
        },
        "status": "active",
        "skus": [
            {
                "code": f"{code}-{variant.code}",
                "name": variant.name,
                "price": {"amount": _as_in_shops(fen * variant.percent // 100), "currency": CURRENCY},
            }
            for variant in category.variants
        ],
    }


def _as_in_shops(fen: int) -> int:
    """The nearest price that shops like: 23.90 yuan below a hundred, 239 yuan above."""
    if fen < 100_00:
        return max(round(fen / 100), 1) * 100 - 10
    return round(fen / 10_00) * 10_00 - 1_00
