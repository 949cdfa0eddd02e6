"""Catalogue: what can be sold, and for how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from doorbuster.kernel.events import Event
from doorbuster.kernel.money import Money

ProductStatus = Literal["draft", "active", "archived"]
FileFormat = Literal["csv", "jsonl"]


class ProductNotFound(NotFound):
    slug = "product-not-found"
    title = "There is no such product"


class SkuNotFound(NotFound):
    slug = "sku-not-found"
    title = "There is no such SKU"


class SkuCodeTaken(Conflict):
    slug = "sku-code-taken"
    title = "Another product has a SKU with this code"


class ProductChanged(Conflict):
    slug = "product-changed"
    title = "The product was changed in the meantime; read it again"


class ProductInvalid(Invalid):
    """`field` says which value is wrong ("title.zh", "skus[2].code")."""

    slug = "product-invalid"
    title = "A product cannot look like this"


class NotYourProduct(Forbidden):
    slug = "not-your-product"
    title = "This product belongs to another merchant"


class Bilingual(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A text in English, in Chinese, or in both."""

    en: str | None = None
    zh: str | None = None

    def joined(self) -> str:
        """Every language there is, on one line, for readers of either: "Tea Tray / 茶盘"."""
        return " / ".join(text for text in (self.en, self.zh) if text)


class Sku(Struct, frozen=True):
    """One way to buy a product. `name` tells it from its siblings ("Black / 黑色") and may be empty."""

    id: int
    code: str
    name: str
    price: Money
    active: bool


class Product(Struct, frozen=True):
    """A product of one merchant, with 1 to 50 SKUs. `version` grows with each change."""

    id: int
    merchant_id: int
    title: Bilingual
    description: Bilingual
    category: str
    brand: str
    media: tuple[str, ...]
    status: ProductStatus
    version: int
    created_ms: int
    updated_ms: int
    skus: tuple[Sku, ...]


class SkuFacts(Struct, frozen=True):
    """What a seller of the SKU needs to know.

    `title` is fit for a receipt: the product's title in its languages, and the SKU's name if it has one.
    `active` is true when both the product and the SKU are.
    """

    sku_id: int
    product_id: int
    merchant_id: int
    code: str
    title: str
    price: Money
    active: bool


class LineProblem(Struct, frozen=True):
    """What is wrong in a line (from 1) of an import. `field` is a column or a path, or empty: the whole line."""

    line: int
    field: str
    problem: str


class ImportProgress(Struct, frozen=True):
    """How many SKUs of an import have been read or written. `total` is unknown (None) while reading."""

    stage: Literal["reading", "writing"]
    done: int
    total: int | None = None


class ImportReport(Struct, frozen=True):
    """How an import ended: everything was written (`ok`), or nothing.

    `created`, `updated` and `unchanged` count products; `skus` is the number of SKUs in the file; `failed`
    counts problems, of which `errors` holds the first 100 in order of lines.
    """

    ok: bool
    skus: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    errors: tuple[LineProblem, ...] = ()


class ProductPublished(Event, frozen=True, tag="catalog.product-published"):
    """A product was created or changed; `version` grows with each change."""

    product_id: int
    version: int

    @property
    def aggregate_id(self) -> int:
        return self.product_id


class Catalog(Protocol):
    async def sku(self, sku_id: int) -> SkuFacts:
        """Raises SkuNotFound."""
        ...


class Showcase(Protocol):
    """What a seller who expects a crowd asks of the catalogue."""

    async def preload(self, sku_ids: Sequence[int]) -> None:
        """Has the products of these SKUs at hand in this process. At most 1000 ids. Raises Unavailable."""
        ...


class Prices(Catalog, Protocol):
    """What a seller of many things at once asks of the catalogue."""

    async def skus(self, sku_ids: Sequence[int]) -> Mapping[int, SkuFacts]:
        """Those that exist, by id. At most 1000 ids. Raises Unavailable."""
        ...
