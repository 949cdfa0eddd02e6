"""What a cart costs, and the order that comes of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from doorbuster.contexts.checkout.model import (
    STANDARD,
    Cart,
    CartLine,
    Content,
    Coupon,
    Quote,
    QuotedLine,
    ShippingMethod,
)
from doorbuster.contracts.catalog import SkuFacts
from doorbuster.contracts.checkout import (
    CartEmpty,
    CouponNotApplicable,
    DestinationMissing,
    NotForSale,
    NothingToPay,
    ShippingMethodNotFound,
    TotalTooLarge,
)
from doorbuster.contracts.orders import Line, OrderDraft
from doorbuster.kernel.cause import Cause
from doorbuster.kernel.clock import Instant
from doorbuster.kernel.money import AMOUNT_MAX, CurrencyMismatch


def standard_method(merchant_id: int) -> ShippingMethod:
    """What a merchant offers who has said nothing: a shop works out of the box."""
    return ShippingMethod(merchant_id, STANDARD, "Standard / 标准配送", "parcel")


def chosen_method(content: Content, offered: Mapping[str, ShippingMethod]) -> ShippingMethod:
    """The way of shipping that the cart asks for, of those that its merchant offers. Raises ShippingMethodNotFound."""
    method = offered.get(content.shipping_method)
    if method is None:
        raise ShippingMethodNotFound(
            f"{content.shipping_method} is not offered here", offered=", ".join(sorted(offered))
        )
    return method


# --- quotes -------------------------------------------------------------------------------------------------------


def quote(
    cart: Cart,
    facts: Mapping[int, SkuFacts],
    method: ShippingMethod,
    coupon: Coupon | None,
    *,
    is_guest: bool,
    now_ms: Instant,
) -> Quote:
    """What the cart costs now.

    Raises CartEmpty, NotForSale, CurrencyMismatch, CouponNotApplicable, NothingToPay, TotalTooLarge.
    """
    content = cart.content
    if not content.lines or content.merchant_id is None or content.currency is None:
        raise CartEmpty
    gone = [str(line.sku_id) for line in content.lines if not _sold(facts.get(line.sku_id), content.merchant_id)]
    if gone:
        raise NotForSale(sku_ids=gone)
    lines = tuple(_quoted(line, facts[line.sku_id], content.currency) for line in content.lines)
    subtotal = sum(line.unit_price * line.quantity for line in lines)
    if subtotal > AMOUNT_MAX:
        raise TotalTooLarge
    shipping = fee_of(method, content, subtotal)
    discount = 0 if coupon is None else discount_of(coupon, content, subtotal, is_guest=is_guest, now_ms=now_ms)
    total = subtotal + shipping - discount
    if total <= 0:
        raise NothingToPay
    if total > AMOUNT_MAX:
        raise TotalTooLarge
    print_of = _fingerprint(cart, lines, method, shipping, discount, total)
    return Quote(
        lines, content.merchant_id, content.currency, method, coupon, subtotal, shipping, discount, total, print_of
    )


def _sold(facts: SkuFacts | None, merchant_id: int) -> bool:
    return facts is not None and facts.active and facts.merchant_id == merchant_id


def _quoted(line: CartLine, facts: SkuFacts, currency: str) -> QuotedLine:
    if facts.price.currency != currency:
        raise CurrencyMismatch(f"{facts.code} is sold in {facts.price.currency}, the cart is in {currency}")
    return QuotedLine(line.sku_id, facts.title, line.quantity, facts.price.amount)


def fee_of(method: ShippingMethod, content: Content, subtotal: int) -> int:
    """Minor units. Raises CurrencyMismatch."""
    if method.currency is None:
        return 0
    if method.currency != content.currency:
        raise CurrencyMismatch(f"{method.code} is paid in {method.currency}, the cart is in {content.currency}")
    if method.free_from is not None and subtotal >= method.free_from:
        return 0
    return method.fee + method.fee_per_unit * sum(line.quantity for line in content.lines)


def discount_of(coupon: Coupon, content: Content, subtotal: int, *, is_guest: bool, now_ms: Instant) -> int:
    """Minor units off the lines' sum, rounded down, and never more than that sum. Raises CouponNotApplicable."""
    if not coupon.valid_from_ms <= now_ms < coupon.valid_to_ms:
        raise CouponNotApplicable("it is not valid now")
    if coupon.currency != content.currency:
        raise CouponNotApplicable(f"it is for orders in {coupon.currency}")
    if subtotal < coupon.minimum:
        raise CouponNotApplicable(f"it is for orders from {coupon.minimum} {coupon.currency} on")
    if is_guest and coupon.customer_limit is not None:
        # A guest's identity is free: whoever wants the coupon again takes another one.
        raise CouponNotApplicable("it is counted per customer: log in to use it")
    off = coupon.amount if coupon.kind == "amount" else subtotal * coupon.percent // 100
    return min(off, subtotal)


_encode = msgspec.json.Encoder().encode


def _fingerprint(
    cart: Cart, lines: Sequence[QuotedLine], method: ShippingMethod, shipping: int, discount: int, total: int
) -> str:
    """16 hex digits. The cart's version stands for what its owner decides, amounts for what others decide."""
    prices = [line.unit_price for line in lines]
    stated = _encode((cart.id, cart.version, prices, method.fulfilment, shipping, discount, total))
    return hashlib.blake2b(stated, digest_size=8).hexdigest()


def draft_of(
    cart: Cart,
    priced: Quote,
    order_id: int,
    note: str,
    now_ms: Instant,
    pay_within_ms: int,
    cause: Cause | None = None,
) -> OrderDraft:
    """What orders are to write. Raises DestinationMissing."""
    destination = cart.content.destination
    if destination is None:
        raise DestinationMissing
    if priced.method.fulfilment == "takeout" and destination.place is None:
        raise DestinationMissing("a courier needs the place on the map")
    return OrderDraft(
        id=order_id,
        customer_id=cart.owner_id,
        merchant_id=priced.merchant_id,
        fulfilment=priced.method.fulfilment,
        lines=tuple(
            Line(line.sku_id, line.title, line.quantity, priced.money(line.unit_price)) for line in priced.lines
        ),
        shipping=priced.money(priced.shipping),
        discount=priced.money(priced.discount),
        destination=destination,
        contact_email=cart.content.contact_email,
        note=note,
        created_ms=now_ms,
        pay_by_ms=now_ms + pay_within_ms,
        cause=cause,
    )
