"""Ways of shipping and coupons over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.checkout import model
from doorbuster.contexts.checkout.model import Coupon, CouponKind, NewCoupon, ShippingMethod
from doorbuster.contexts.checkout.terms import Terms
from doorbuster.contracts.orders import Fulfilment
from doorbuster.kernel.clock import parse_rfc3339, rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.money import AMOUNT_MAX
from doorbuster.kernel.places import NAME_MAX, TEXT_PATTERN
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    TimeText,
    allow,
    idempotency_key_of,
    principal_of,
    public,
)
from doorbuster.platform.http.problems import InvalidBody
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="Minor units")]
CurrencyText = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", max_length=3)]
MethodText = Annotated[str, Meta(pattern=model.METHOD_PATTERN, max_length=32)]
NameText = Annotated[str, Meta(max_length=NAME_MAX, pattern=TEXT_PATTERN)]
CodeText = Annotated[str, Meta(pattern=model.CODE_PATTERN, max_length=32)]
When = Annotated[TimeText, Meta(max_length=40)]
Limit = Annotated[int, Meta(ge=1, le=100_000_000)]


class ShippingMethodBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A flat fee and one per unit; free from an amount of goods on. Admins say whose it is."""

    name: NameText
    fulfilment: Fulfilment = "parcel"
    currency: CurrencyText | None = None
    fee: Amount = 0
    fee_per_unit: Amount = 0
    free_from: Amount | None = None
    merchant_id: IdText | None = None


class ShippingMethodView(Struct, frozen=True):
    code: str
    name: str
    fulfilment: Fulfilment
    currency: str | None
    fee: int
    fee_per_unit: int
    free_from: int | None

    @classmethod
    def of(cls, method: ShippingMethod) -> ShippingMethodView:
        return cls(
            method.code,
            method.name,
            method.fulfilment,
            method.currency,
            method.fee,
            method.fee_per_unit,
            method.free_from,
        )


class ShippingMethodsView(Struct, frozen=True):
    """All of them: there are at most 50. A merchant who has laid down none offers "standard", which is free."""

    items: list[ShippingMethodView]


class CouponBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`percent` or `amount` off the goods, from `minimum` on. One with a limit per customer is for accounts."""

    code: CodeText
    kind: CouponKind
    currency: CurrencyText
    percent: Annotated[int, Meta(ge=0, le=100)] = 0
    amount: Amount = 0
    minimum: Amount = 0
    valid_from: When
    valid_to: When
    total_limit: Limit | None = None
    customer_limit: Limit | None = None
    merchant_id: IdText | None = None

    def new_coupon(self) -> NewCoupon:
        """Raises InvalidBody."""
        try:
            valid_from_ms, valid_to_ms = parse_rfc3339(self.valid_from), parse_rfc3339(self.valid_to)
        except ValueError as error:
            raise InvalidBody(str(error)) from error
        return NewCoupon(
            code=self.code,
            kind=self.kind,
            currency=self.currency,
            percent=self.percent,
            amount=self.amount,
            minimum=self.minimum,
            valid_from_ms=valid_from_ms,
            valid_to_ms=valid_to_ms,
            total_limit=self.total_limit,
            customer_limit=self.customer_limit,
        )


class CouponView(Struct, frozen=True):
    """`used`: orders that have it now; an order that is cancelled gives it back."""

    id: IdText
    merchant_id: IdText
    code: str
    kind: CouponKind
    currency: str
    percent: int
    amount: int
    minimum: int
    valid_from: TimeText
    valid_to: TimeText
    total_limit: int | None
    customer_limit: int | None
    used: int

    @classmethod
    def of(cls, coupon: Coupon) -> CouponView:
        return cls(
            str(coupon.id),
            str(coupon.merchant_id),
            coupon.code,
            coupon.kind,
            coupon.currency,
            coupon.percent,
            coupon.amount,
            coupon.minimum,
            rfc3339(coupon.valid_from_ms),
            rfc3339(coupon.valid_to_ms),
            coupon.total_limit,
            coupon.customer_limit,
            coupon.used,
        )


class CouponPage(Struct, frozen=True):
    items: list[CouponView]
    next_cursor: str | None


def routes(terms: Terms) -> list[ControllerRouterHandler]:
    return [*_shipping_routes(terms), *_coupon_routes(terms)]


def _shipping_routes(terms: Terms) -> list[ControllerRouterHandler]:
    @put(
        "/v1/shipping-methods/{code:str}",
        guards=[allow("merchant", "admin")],
        tags=["checkout"],
        summary="Lay down a way of shipping, or change it",
    )
    async def put_method(
        request: AnyRequest, code: FromPath[str], data: JSONBody[ShippingMethodBody]
    ) -> ShippingMethodView:
        principal = principal_of(request)
        method = ShippingMethod(
            merchant_id=_merchant(principal, data.merchant_id),
            code=code,
            name=data.name.rstrip(),
            fulfilment=data.fulfilment,
            currency=data.currency,
            fee=data.fee,
            fee_per_unit=data.fee_per_unit,
            free_from=data.free_from,
        )
        return ShippingMethodView.of(await terms.put_method(principal, method))

    @delete(
        "/v1/shipping-methods/{code:str}",
        status_code=204,
        guards=[allow("merchant", "admin")],
        tags=["checkout"],
        summary="Offer a way of shipping no more",
    )
    async def delete_method(
        request: AnyRequest, code: FromPath[str], merchant_id: FromQuery[str | None] = None
    ) -> None:
        principal = principal_of(request)
        await terms.delete_method(principal, _merchant(principal, merchant_id), model.checked_method_code(code))

    @get(
        "/v1/merchants/{merchant_id:str}/shipping-methods",
        guards=[public],
        tags=["checkout"],
        summary="How a merchant ships",
    )
    async def list_methods(merchant_id: FromPath[str]) -> ShippingMethodsView:
        offered = await terms.methods(parse_id(merchant_id))
        return ShippingMethodsView([ShippingMethodView.of(offered[code]) for code in sorted(offered)])

    return [put_method, delete_method, list_methods]


def _coupon_routes(terms: Terms) -> list[ControllerRouterHandler]:
    @post(
        "/v1/coupons",
        status_code=201,
        guards=[allow("merchant", "admin")],
        tags=["checkout"],
        summary="Create a coupon",
    )
    async def create_coupon(request: AnyRequest, data: JSONBody[CouponBody]) -> CouponView:
        principal = principal_of(request)
        merchant_id = _merchant(principal, data.merchant_id)
        key = idempotency_key_of(request)
        return CouponView.of(await terms.create_coupon(principal, merchant_id, key, data.new_coupon()))

    @get(
        "/v1/coupons",
        guards=[allow("merchant", "admin")],
        tags=["checkout"],
        summary="A merchant's coupons and how often each is used, newest first",
    )
    async def list_coupons(
        request: AnyRequest,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
        merchant_id: FromQuery[str | None] = None,
    ) -> CouponPage:
        principal = principal_of(request)
        before = decode_cursor(cursor) if cursor is not None else None
        page = await terms.coupons(principal, _merchant(principal, merchant_id), before, checked_limit(limit))
        items = [CouponView.of(coupon) for coupon in page.items]
        return CouponPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    return [create_coupon, list_coupons]


def _merchant(principal: Principal, named: str | None) -> int:
    """Whose terms: a merchant's own unless they say so, and an admin says whose. Raises InvalidBody, InvalidId."""
    if named is not None:
        return parse_id(named)
    if principal.role == "admin":
        raise InvalidBody("an admin says whose it is: merchant_id")
    return principal.account_id
