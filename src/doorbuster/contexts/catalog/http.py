"""The catalogue over HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, cast

from litestar import get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.catalog import model
from doorbuster.contexts.catalog.model import ProductChange, ProductDraft, SkuChange, SkuDraft
from doorbuster.contexts.catalog.service import CatalogService
from doorbuster.contracts.catalog import Bilingual, Product, ProductStatus, Sku
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    MoneyBody,
    TimeText,
    allow,
    idempotency_key_of,
    principal_of,
    public,
)
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

Title = Annotated[str, Meta(min_length=1, max_length=model.TITLE_MAX)]
Description = Annotated[str, Meta(min_length=1, max_length=model.DESCRIPTION_MAX)]
Category = Annotated[str, Meta(max_length=model.CATEGORY_MAX, pattern=model.CATEGORY_PATTERN)]
Brand = Annotated[str, Meta(max_length=model.BRAND_MAX)]
Url = Annotated[str, Meta(max_length=model.URL_MAX, pattern=model.URL_PATTERN)]
Media = Annotated[tuple[Url, ...], Meta(max_length=model.MEDIA_MAX)]
Code = Annotated[str, Meta(max_length=model.CODE_MAX, pattern=model.CODE_PATTERN)]
SkuName = Annotated[str, Meta(max_length=model.SKU_NAME_MAX)]
Version = Annotated[int, Meta(ge=1, le=2**53)]


class TitleBody(Struct, frozen=True, forbid_unknown_fields=True):
    """In English, in Chinese, or in both."""

    en: Title | None = None
    zh: Title | None = None


class DescriptionBody(Struct, frozen=True, forbid_unknown_fields=True):
    """In English, in Chinese, in both, or in neither."""

    en: Description | None = None
    zh: Description | None = None


class SkuBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A new SKU. `code` is the merchant's own and stays for ever; `name` tells it from its siblings."""

    code: Code
    price: MoneyBody
    name: SkuName = ""
    active: bool = True

    def draft(self) -> SkuDraft:
        return SkuDraft(self.code, self.price.money(), self.name, self.active)


class ProductBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A new product."""

    title: TitleBody
    category: Category
    skus: Annotated[tuple[SkuBody, ...], Meta(min_length=1, max_length=model.SKUS_MAX)]
    description: DescriptionBody = DescriptionBody()
    brand: Brand = ""
    media: Media = ()
    status: ProductStatus = "draft"

    def draft(self) -> ProductDraft:
        return ProductDraft(
            title=_bilingual(self.title),
            category=self.category,
            skus=tuple(sku.draft() for sku in self.skus),
            description=_bilingual(self.description),
            brand=self.brand,
            media=self.media,
            status=self.status,
        )


class SkuChangeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the SKU with this code. A code that the product does not have adds a SKU, with name and price."""

    code: Code
    name: SkuName | None = None
    price: MoneyBody | None = None
    active: bool | None = None

    def change(self) -> SkuChange:
        return SkuChange(self.code, self.name, self.price.money() if self.price else None, self.active)


class ProductChangeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the product that was read with this `version`. What is absent or null stays; SKUs too."""

    version: Version
    title: TitleBody | None = None
    description: DescriptionBody | None = None
    category: Category | None = None
    brand: Brand | None = None
    media: Media | None = None
    status: ProductStatus | None = None
    skus: Annotated[tuple[SkuChangeBody, ...], Meta(max_length=model.SKUS_MAX)] = ()

    def change(self) -> ProductChange:
        return ProductChange(
            version=self.version,
            title=None if self.title is None else _bilingual(self.title),
            description=None if self.description is None else _bilingual(self.description),
            category=self.category,
            brand=self.brand,
            media=self.media,
            status=self.status,
            skus=tuple(sku.change() for sku in self.skus),
        )


def _bilingual(text: TitleBody | DescriptionBody) -> Bilingual:
    return Bilingual(text.en, text.zh)


class BilingualView(Struct, frozen=True):
    """A language that is missing is null."""

    en: str | None
    zh: str | None

    @classmethod
    def of(cls, text: Bilingual) -> BilingualView:
        return cls(text.en, text.zh)


class SkuView(Struct, frozen=True):
    id: IdText
    code: str
    name: str
    price: MoneyBody
    active: bool

    @classmethod
    def of(cls, sku: Sku) -> SkuView:
        return cls(str(sku.id), sku.code, sku.name, MoneyBody.of(sku.price), sku.active)


class ProductView(Struct, frozen=True):
    """A product with its SKUs. Send `version` back with a change."""

    id: IdText
    merchant_id: IdText
    title: BilingualView
    description: BilingualView
    category: str
    brand: str
    media: tuple[str, ...]
    status: ProductStatus
    version: int
    skus: tuple[SkuView, ...]
    created_at: TimeText
    updated_at: TimeText

    @classmethod
    def of(cls, product: Product) -> ProductView:
        return cls(
            id=str(product.id),
            merchant_id=str(product.merchant_id),
            title=BilingualView.of(product.title),
            description=BilingualView.of(product.description),
            category=product.category,
            brand=product.brand,
            media=product.media,
            status=product.status,
            version=product.version,
            skus=tuple(SkuView.of(sku) for sku in product.skus),
            created_at=rfc3339(product.created_ms),
            updated_at=rfc3339(product.updated_ms),
        )


class ProductPage(Struct, frozen=True):
    items: list[ProductView]
    next_cursor: str | None


class CategoryView(Struct, frozen=True):
    slug: str


class CategoryList(Struct, frozen=True):
    items: list[CategoryView]


_CATEGORY = re.compile(model.CATEGORY_PATTERN)


def routes(service: CatalogService) -> list[ControllerRouterHandler]:
    @get("/v1/products", guards=[public], tags=["catalogue"], summary="Products on sale, oldest first")
    async def list_products(
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
        category: Annotated[str | None, QueryParameter(max_length=model.CATEGORY_MAX)] = None,
    ) -> ProductPage:
        after = 0 if cursor is None else decode_cursor(cursor)
        limit = checked_limit(limit)
        if category is not None and not _CATEGORY.fullmatch(category):
            return ProductPage([], None)  # not even asked for: PostgreSQL refuses some of what is no slug
        page = await service.products(after, limit, category)
        items = [ProductView.of(product) for product in page.items]
        return ProductPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    @get("/v1/products/{product_id:str}", guards=[public], tags=["catalogue"], summary="A product")
    async def get_product(request: AnyRequest, product_id: FromPath[str]) -> ProductView:
        return ProductView.of(await service.product(_reader_of(request), parse_id(product_id)))

    @post(
        "/v1/products",
        status_code=201,
        guards=[allow("merchant", "admin")],
        tags=["catalogue"],
        summary="Create a product of one's own",
    )
    async def create_product(request: AnyRequest, data: JSONBody[ProductBody]) -> ProductView:
        return ProductView.of(await service.create(principal_of(request), idempotency_key_of(request), data.draft()))

    @patch(
        "/v1/products/{product_id:str}",
        status_code=200,
        guards=[allow("merchant", "admin")],
        tags=["catalogue"],
        summary="Change a product",
    )
    async def change_product(
        request: AnyRequest, product_id: FromPath[str], data: JSONBody[ProductChangeBody]
    ) -> ProductView:
        return ProductView.of(await service.change(principal_of(request), parse_id(product_id), data.change()))

    @get("/v1/categories", guards=[public], tags=["catalogue"], summary="Categories with products on sale")
    async def list_categories() -> CategoryList:
        return CategoryList([CategoryView(slug) for slug in await service.categories()])

    return [list_products, get_product, create_product, change_product, list_categories]


def _reader_of(request: AnyRequest) -> Principal | None:
    """Who reads, on a route that is open to everybody."""
    principal = cast("Mapping[str, object]", request.scope).get("principal")
    return principal if isinstance(principal, Principal) else None
