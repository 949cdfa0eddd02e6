"""Products as they may be, and what a change makes of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct, structs

from doorbuster.contracts.catalog import (
    Bilingual,
    NotYourProduct,
    Product,
    ProductChanged,
    ProductInvalid,
    ProductNotFound,
    ProductStatus,
    Sku,
)
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal

TITLE_MAX = 200
DESCRIPTION_MAX = 5000
BRAND_MAX = 100
CATEGORY_MAX = 64
CODE_MAX = 64
SKU_NAME_MAX = 100
URL_MAX = 500
MEDIA_MAX = 20
SKUS_MAX = 50

CATEGORY_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
CODE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
URL_PATTERN = r"^https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?([/?#][!#-;=?-\[\]^_a-z~]*)?$"

_CATEGORY = re.compile(CATEGORY_PATTERN)
_CODE = re.compile(CODE_PATTERN)
_URL = re.compile(URL_PATTERN)
# Control characters, invisible marks and marks that turn the direction of writing: a title with them lies.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_STATUSES = ("draft", "active", "archived")


class SkuDraft(Struct, frozen=True):
    """A SKU as somebody wants it. `code` is what tells it from the merchant's others, for ever."""

    code: str
    price: Money
    name: str = ""
    active: bool = True


class ProductDraft(Struct, frozen=True):
    """A product as somebody wants it."""

    title: Bilingual
    category: str
    skus: tuple[SkuDraft, ...]
    description: Bilingual = Bilingual()
    brand: str = ""
    media: tuple[str, ...] = ()
    status: ProductStatus = "draft"


class SkuChange(Struct, frozen=True):
    """A change of the SKU with this code; None leaves a value. An unknown code adds a SKU: it needs name and price."""

    code: str
    name: str | None = None
    price: Money | None = None
    active: bool | None = None


class ProductChange(Struct, frozen=True):
    """A change of the product that had this `version`; None leaves a value. SKUs that are not named stay."""

    version: int
    title: Bilingual | None = None
    description: Bilingual | None = None
    category: str | None = None
    brand: str | None = None
    media: tuple[str, ...] | None = None
    status: ProductStatus | None = None
    skus: tuple[SkuChange, ...] = ()


class Problem(Struct, frozen=True):
    """What is wrong with a draft. `sku` is the index of the SKU whose `field` it is."""

    field: str
    problem: str
    sku: int | None = None

    @property
    def path(self) -> str:
        return self.field if self.sku is None else f"skus[{self.sku}].{self.field}"


def problems_of(draft: ProductDraft) -> Iterator[Problem]:
    """Everything that is wrong with the draft."""
    if not draft.title.joined():
        yield Problem("title", "is needed in English (en) or Chinese (zh)")
    yield from _text_problems("title", draft.title, TITLE_MAX, lines=False)
    yield from _text_problems("description", draft.description, DESCRIPTION_MAX, lines=True)
    if len(draft.category) > CATEGORY_MAX or not _CATEGORY.fullmatch(draft.category):
        yield Problem("category", f"must be a slug like home-kitchen, at most {CATEGORY_MAX} characters")
    if draft.brand and (wrong := wrong_with(draft.brand, BRAND_MAX)):
        yield Problem("brand", wrong)
    if draft.status not in _STATUSES:
        yield Problem("status", f"must be one of {', '.join(_STATUSES)}")
    if len(draft.media) > MEDIA_MAX:
        yield Problem("media", f"holds {len(draft.media)} addresses; at most {MEDIA_MAX} are allowed")
    if any(len(url) > URL_MAX or not _URL.fullmatch(url) for url in draft.media):
        yield Problem("media", f"must hold http or https addresses of at most {URL_MAX} characters")
    yield from _sku_problems(draft.skus)


def _text_problems(field: str, text: Bilingual, length_max: int, *, lines: bool) -> Iterator[Problem]:
    for language, value in (("en", text.en), ("zh", text.zh)):
        if value is not None and (wrong := wrong_with(value, length_max, lines=lines)):
            yield Problem(f"{field}.{language}", wrong)


def wrong_with(text: str, length_max: int, *, lines: bool = False) -> str | None:
    """Why `text` cannot be shown; None if it can. `lines` allows line breaks and tabs."""
    if len(text) > length_max:
        return f"has {len(text)} characters; at most {length_max} are allowed"
    if not text or text != text.strip():
        return "must not be empty, nor begin or end with white space"
    if unseen := _UNSEEN.search(text.replace("\n", "").replace("\t", "") if lines else text):
        return f"holds the character U+{ord(unseen[0]):04X}, which cannot be shown"
    return None


def _sku_problems(skus: Sequence[SkuDraft]) -> Iterator[Problem]:
    if not 1 <= len(skus) <= SKUS_MAX:
        yield Problem("skus", f"holds {len(skus)} SKUs; a product has 1 to {SKUS_MAX}")
    seen: set[str] = set()
    for index, sku in enumerate(skus):
        if len(sku.code) > CODE_MAX or not _CODE.fullmatch(sku.code):
            yield Problem("code", f"must be letters, digits, '.', '_' and '-', at most {CODE_MAX}", index)
        if sku.code in seen:
            yield Problem("code", f"{sku.code[:CODE_MAX]!r} occurs twice in this product", index)
        seen.add(sku.code)
        if sku.name and (wrong := wrong_with(sku.name, SKU_NAME_MAX)):
            yield Problem("name", wrong, index)
        if sku.price.amount < 0:
            yield Problem("price.amount", "must not be negative", index)


def check(draft: ProductDraft) -> None:
    """Raises ProductInvalid with the first problem."""
    for problem in problems_of(draft):
        raise ProductInvalid(f"{problem.path} {problem.problem}", field=problem.path)


def new_product(draft: ProductDraft, merchant_id: int, now_ms: int, next_id: Callable[[], int]) -> Product:
    """The draft, which was checked, with its ids."""
    return Product(
        id=next_id(),
        merchant_id=merchant_id,
        title=draft.title,
        description=draft.description,
        category=draft.category,
        brand=draft.brand,
        media=draft.media,
        status=draft.status,
        version=1,
        created_ms=now_ms,
        updated_ms=now_ms,
        skus=tuple(Sku(next_id(), sku.code, sku.name, sku.price, sku.active) for sku in draft.skus),
    )


def draft_after(product: Product, change: ProductChange) -> ProductDraft:
    """What the changed product is to look like. Raises ProductInvalid."""
    known = {sku.code: sku for sku in product.skus}
    draft = ProductDraft(
        title=product.title if change.title is None else change.title,
        description=product.description if change.description is None else change.description,
        category=product.category if change.category is None else change.category,
        brand=product.brand if change.brand is None else change.brand,
        media=product.media if change.media is None else change.media,
        status=product.status if change.status is None else change.status,
        skus=tuple(_sku_after(known, sku, index) for index, sku in enumerate(change.skus)),
    )
    # Paths of problems count the SKUs of the change; those that stay come behind.
    named = {sku.code for sku in change.skus}
    staying = tuple(
        SkuDraft(sku.code, sku.price, sku.name, sku.active) for sku in product.skus if sku.code not in named
    )
    draft = structs.replace(draft, skus=draft.skus + staying)
    check(draft)
    return draft


def _sku_after(known: Mapping[str, Sku], change: SkuChange, index: int) -> SkuDraft:
    before = known.get(change.code)
    name = before.name if before and change.name is None else change.name
    price = before.price if before and change.price is None else change.price
    if name is None or price is None:
        raise ProductInvalid(
            f"skus[{index}] is new (no SKU of this product has its code) and needs a name and a price",
            field=f"skus[{index}]",
        )
    active = (before.active if before else True) if change.active is None else change.active
    return SkuDraft(change.code, price, name, active)


def revised(product: Product, draft: ProductDraft, now_ms: int, next_id: Callable[[], int]) -> Product:
    """The product as the draft wants it, one version on; the very same product if it is so already.

    SKUs are told by their codes: known ones change, new ones are added at the end, others stay. None is ever
    removed, because orders point at it.
    """
    wanted = {sku.code: sku for sku in draft.skus}
    kept = tuple(_overlaid(sku, wanted.pop(sku.code, None)) for sku in product.skus)
    added = tuple(Sku(next_id(), sku.code, sku.name, sku.price, sku.active) for sku in wanted.values())
    after = structs.replace(
        product,
        title=draft.title,
        description=draft.description,
        category=draft.category,
        brand=draft.brand,
        media=draft.media,
        status=draft.status,
        skus=kept + added,
    )
    if after == product:
        return product
    return structs.replace(after, version=product.version + 1, updated_ms=max(now_ms, product.updated_ms))


def _overlaid(sku: Sku, draft: SkuDraft | None) -> Sku:
    return sku if draft is None else Sku(sku.id, sku.code, draft.name, draft.price, draft.active)


def may_edit(principal: Principal | None, product: Product) -> bool:
    if principal is None:
        return False
    return principal.role == "admin" or (principal.role == "merchant" and principal.account_id == product.merchant_id)


def check_seller(principal: Principal) -> None:
    """Raises Forbidden unless this role has to do with changing products at all."""
    if principal.role not in ("merchant", "admin"):
        raise Forbidden("only merchants and admins change products")


def visible(product: Product | None, principal: Principal | None) -> Product:
    """Raises ProductNotFound. A draft exists only for its merchant and for admins."""
    if product is None or (product.status == "draft" and not may_edit(principal, product)):
        raise ProductNotFound
    return product


def editable(product: Product | None, principal: Principal, version: int) -> Product:
    """The product, if this principal may change this version of it.

    Raises ProductNotFound, NotYourProduct, ProductChanged.
    """
    product = visible(product, principal)
    if not may_edit(principal, product):
        raise NotYourProduct
    if product.version != version:
        raise ProductChanged(f"version {version} was changed; it is {product.version} now", version=product.version)
    return product
