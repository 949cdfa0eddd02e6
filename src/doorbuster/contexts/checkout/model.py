"""What a cart may hold, what it costs, and how carts become one. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from doorbuster.contracts.catalog import SkuFacts
from doorbuster.contracts.checkout import (
    CART_LINES_MAX,
    LINE_QUANTITY_MAX,
    AnotherMerchant,
    CartFull,
    CheckoutStatus,
    CouponInvalid,
    DeliveryInvalid,
    NotForSale,
    ShippingMethodInvalid,
    ShippingMethodNotFound,
)
from doorbuster.contracts.orders import Fulfilment, OrderDraft
from doorbuster.kernel.clock import Instant
from doorbuster.kernel.money import CurrencyMismatch, Money
from doorbuster.kernel.places import (
    COUNTRY_PATTERN,
    NAME_MAX,
    PHONE_PATTERN,
    POSTCODE_MAX,
    STREET_MAX,
    TEXT_PATTERN,
    Destination,
)

STANDARD = "standard"
"""The way of shipping that a cart takes if it says nothing."""
OPEN_CARTS_MAX = 10
"""Open carts of one owner: one for each merchant they buy from."""
METHODS_MAX = 50

EMAIL_MAX, NOTE_MAX = 254, 500
EMAIL_PATTERN = (
    r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"
)
NOTE_PATTERN = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
"""Like TEXT_PATTERN, with line breaks, and it may be empty."""
CODE_PATTERN = "^[A-Z0-9][A-Z0-9-]{2,31}$"
METHOD_PATTERN = "^[a-z0-9][a-z0-9-]{0,31}$"

CartStatus = Literal["open", "ordered", "merged"]
# `gc=False`: they hold no cycles, and thousands of them are alive at a time, which the collector would walk in vain.
Stage = Literal["placing", "failing", "placed", "failed"]
"""Of a checkout. "failing": given up, while neighbours are asked to let go; its customer sees "placing"."""
CouponKind = Literal["percent", "amount"]


class CartLine(Struct, frozen=True, gc=False, array_like=True):
    sku_id: int
    quantity: int


class Content(Struct, frozen=True, gc=False, omit_defaults=True):
    """What its owner has put into a cart. The first line decides merchant and currency; an empty cart has neither."""

    merchant_id: int | None = None
    currency: str | None = None
    lines: tuple[CartLine, ...] = ()
    destination: Destination | None = None
    contact_email: str | None = None
    shipping_method: str = STANDARD
    coupon_code: str | None = None


class Cart(Struct, frozen=True, gc=False):
    """`version` grows with each change. An ordered cart has an `order_id`; it is open again if that fails."""

    id: int
    owner_id: int
    status: CartStatus
    version: int
    content: Content
    created_ms: Instant
    order_id: int | None = None

    def changed(self, content: Content) -> Cart:
        return replace(self, version=self.version + 1, content=content)

    def ordered(self, order_id: int) -> Cart:
        return replace(self, version=self.version + 1, status="ordered", order_id=order_id)


class Checkout(Struct, frozen=True, gc=False):
    """An attempt to place a cart under the order's id. `attempt` counts those who have driven it."""

    id: int
    cart_id: int
    customer_id: int
    stage: Stage
    key: str
    digest: bytes
    total: Money
    coupon: Coupon | None
    draft: OrderDraft
    attempt: int
    begun_ms: Instant
    reason: str | None = None
    reason_skus: tuple[int, ...] = ()

    @property
    def status(self) -> CheckoutStatus:
        return "placing" if self.stage == "failing" else self.stage


class ShippingMethod(Struct, frozen=True):
    """A flat fee and one per unit, in minor units; free from `free_from` on (the lines' sum). No currency: no fee."""

    merchant_id: int
    code: str
    name: str
    fulfilment: Fulfilment
    currency: str | None = None
    fee: int = 0
    fee_per_unit: int = 0
    free_from: int | None = None


class NewCoupon(Struct, frozen=True, kw_only=True):
    """What a merchant asks for: `percent` (1 to 100) or `amount` off the lines' sum, in minor units of `currency`."""

    code: str
    kind: CouponKind
    currency: str
    percent: int = 0
    amount: int = 0
    minimum: int = 0
    valid_from_ms: Instant
    valid_to_ms: Instant
    total_limit: int | None = None
    customer_limit: int | None = None


class Coupon(NewCoupon, frozen=True, kw_only=True):
    id: int
    merchant_id: int
    used: int = 0
    created_ms: Instant


class QuotedLine(Struct, frozen=True, gc=False):
    sku_id: int
    title: str
    quantity: int
    unit_price: int


class Quote(Struct, frozen=True, gc=False):
    """What a cart costs: `total` = `subtotal` + `shipping` - `discount`, in minor units of `currency`.

    `fingerprint` stands for all of it and for the cart's version: it fits until one of them changes.
    """

    lines: tuple[QuotedLine, ...]
    merchant_id: int
    currency: str
    method: ShippingMethod
    coupon: Coupon | None
    subtotal: int
    shipping: int
    discount: int
    total: int
    fingerprint: str

    def money(self, amount: int) -> Money:
        return Money(amount, self.currency)


class Guest(Struct, frozen=True, gc=False):
    """Somebody without an account, and the token that makes them the same one again. There is no row of them."""

    id: int
    token: str
    expires_in_s: int


class Delivery(Struct, frozen=True, gc=False):
    destination: Destination | None
    contact_email: str | None
    shipping_method: str


class NewCart(Struct, frozen=True, gc=False):
    lines: tuple[CartLine, ...] = ()
    delivery: Delivery | None = None


class PlaceRequest(Struct, frozen=True, gc=False):
    """`quote` is the fingerprint of what the customer has agreed to."""

    quote: str
    note: str


class Shown(Struct, frozen=True, gc=False):
    """A cart and what it costs; no quote if it cannot be ordered as it is (the quote's own route says why)."""

    cart: Cart
    quote: Quote | None
    guest: Guest | None = None


def fits(pattern: str, text: str) -> bool:
    """The patterns are also those of the API's schema, whose `$` lets a line break through in Python."""
    return _compiled(pattern).search(text) is not None and not text.endswith("\n")


_compiled = cache(re.compile)


# --- carts --------------------------------------------------------------------------------------------------------


def with_units(content: Content, facts: SkuFacts, quantity: int) -> Content:
    """The cart's content with `quantity` units of a SKU, whatever it held of it before; 0 takes the line away.

    Raises NotForSale, AnotherMerchant, CurrencyMismatch, CartFull.
    """
    if quantity == 0:
        return without(content, facts.sku_id)
    if not facts.active:
        raise NotForSale(sku_ids=[str(facts.sku_id)])
    if quantity > LINE_QUANTITY_MAX:
        raise CartFull(f"a cart holds at most {LINE_QUANTITY_MAX} units of a SKU")
    if content.merchant_id is not None and content.merchant_id != facts.merchant_id:
        raise AnotherMerchant(merchant_id=content.merchant_id)
    if content.currency is not None and content.currency != facts.price.currency:
        raise CurrencyMismatch(f"this cart is in {content.currency}")
    line = CartLine(facts.sku_id, quantity)
    if any(each.sku_id == facts.sku_id for each in content.lines):
        lines = tuple(line if each.sku_id == facts.sku_id else each for each in content.lines)
    elif len(content.lines) < CART_LINES_MAX:
        lines = (*content.lines, line)
    else:
        raise CartFull(f"a cart holds at most {CART_LINES_MAX} lines")
    return replace(content, merchant_id=facts.merchant_id, currency=facts.price.currency, lines=lines)


def without(content: Content, sku_id: int) -> Content:
    """The same without a SKU. Who empties the cart may fill it from another merchant."""
    lines = tuple(line for line in content.lines if line.sku_id != sku_id)
    if lines:
        return replace(content, lines=lines)
    return replace(content, lines=(), merchant_id=None, currency=None, shipping_method=STANDARD, coupon_code=None)


def summed(lines: Sequence[CartLine]) -> list[CartLine]:
    """A SKU on two lines is one line of their sum."""
    units: dict[int, int] = {}
    for line in lines:
        units[line.sku_id] = units.get(line.sku_id, 0) + line.quantity
    return [CartLine(sku_id, quantity) for sku_id, quantity in units.items()]


def merged(into: Content, other: Content) -> tuple[Content, list[CartLine]]:
    """Both contents as one, and the units that did not fit. Quantities add up; what `into` says of delivery stays."""
    units = {line.sku_id: line.quantity for line in into.lines}
    left_out: list[CartLine] = []
    for line in other.lines:
        there = units.get(line.sku_id, 0)
        room = LINE_QUANTITY_MAX - there if there or len(units) < CART_LINES_MAX else 0
        if room:
            units[line.sku_id] = there + min(room, line.quantity)
        if line.quantity > room:
            left_out.append(CartLine(line.sku_id, line.quantity - room))
    content = replace(
        into,
        merchant_id=into.merchant_id or other.merchant_id,
        currency=into.currency or other.currency,
        lines=tuple(CartLine(sku_id, quantity) for sku_id, quantity in units.items()),
        destination=into.destination or other.destination,
        contact_email=into.contact_email or other.contact_email,
        shipping_method=other.shipping_method if into.shipping_method == STANDARD else into.shipping_method,
        coupon_code=into.coupon_code or other.coupon_code,
    )
    return content, left_out


# --- delivery -----------------------------------------------------------------------------------------------------


def checked_destination(destination: Destination) -> Destination:
    """With its texts trimmed. Raises DeliveryInvalid."""
    for field, text, pattern in (
        ("country", destination.country, COUNTRY_PATTERN),
        ("phone", destination.phone, PHONE_PATTERN),
    ):
        if not fits(pattern, text):
            raise DeliveryInvalid(f"{field} does not look like one", field=field)
    return Destination(
        recipient=_plain("recipient", destination.recipient, NAME_MAX),
        phone=destination.phone,
        country=destination.country,
        region=_plain("region", destination.region, NAME_MAX) if destination.region else "",
        city=_plain("city", destination.city, NAME_MAX),
        street=_plain("street", destination.street, STREET_MAX),
        postcode=_plain("postcode", destination.postcode, POSTCODE_MAX) if destination.postcode else "",
        place=destination.place,
    )


def _plain(field: str, text: str, length_max: int) -> str:
    text = text.rstrip()
    if len(text) > length_max or not fits(TEXT_PATTERN, text):
        raise DeliveryInvalid(f"{field} is not a text of 1 to {length_max} characters", field=field)
    return text


def checked_email(email: str) -> str:
    """Raises DeliveryInvalid."""
    if len(email) > EMAIL_MAX or not fits(EMAIL_PATTERN, email):
        raise DeliveryInvalid("this is not an e-mail address", field="contact_email")
    return email


# --- terms --------------------------------------------------------------------------------------------------------


def checked_method(method: ShippingMethod) -> ShippingMethod:
    """Raises ShippingMethodInvalid."""
    if not fits(METHOD_PATTERN, method.code) or not fits(TEXT_PATTERN, method.name):
        raise ShippingMethodInvalid("code and name are visible text of one line")
    if method.currency is None and (method.fee or method.fee_per_unit or method.free_from is not None):
        raise ShippingMethodInvalid("a fee has a currency")
    return method


def checked_method_code(code: str) -> str:
    """Raises ShippingMethodNotFound: under another one there is none."""
    if not fits(METHOD_PATTERN, code):
        raise ShippingMethodNotFound
    return code


def checked_coupon(new: NewCoupon) -> NewCoupon:
    """Raises CouponInvalid."""
    if not fits(CODE_PATTERN, new.code):
        raise CouponInvalid("a code is 3 to 32 capital letters, digits and hyphens")
    if new.kind == "percent" and not (1 <= new.percent <= 100 and new.amount == 0):
        raise CouponInvalid("a coupon of this kind takes 1 to 100 percent off")
    if new.kind == "amount" and not (new.amount > 0 and new.percent == 0):
        raise CouponInvalid("a coupon of this kind takes an amount above zero off")
    if new.valid_to_ms <= new.valid_from_ms:
        raise CouponInvalid("a coupon ends after it begins")
    return new
