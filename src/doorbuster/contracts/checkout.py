"""Checkout: a cart, what it costs, and the way from there to an order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.kernel.errors import Conflict, Invalid, NotFound, Unprocessable
from doorbuster.kernel.money import Money

CheckoutStatus = Literal["placing", "placed", "failed"]
CART_LINES_MAX = 50
LINE_QUANTITY_MAX = 1000


class CartNotFound(NotFound):
    slug = "cart-not-found"
    title = "There is no such cart"


class CartClosed(Conflict):
    slug = "cart-closed"
    title = "This cart has been ordered"


class CartEmpty(Conflict):
    slug = "cart-empty"
    title = "There is nothing in this cart"


class CartFull(Conflict):
    slug = "cart-full"
    title = "A cart cannot hold more lines"


class AnotherMerchant(Conflict):
    """One order is fulfilled by one merchant. `merchant_id` tells by whom this cart is."""

    slug = "another-merchant"
    title = "This cart is filled from another merchant"


class CartChanged(Conflict):
    """Prices, fees or stock are not what was quoted; read the quote again."""

    slug = "quote-changed"
    title = "The quote has changed; look at it again before ordering"


class NotForSale(Unprocessable):
    slug = "not-for-sale"
    title = "This SKU is not for sale"


class CheckoutFailed(Conflict):
    """The cart is open again. `reason` says why; out of stock has an answer of its own."""

    slug = "checkout-failed"
    title = "This order could not be placed; nothing is owed"


class DestinationMissing(Conflict):
    slug = "destination-missing"
    title = "The cart says not where to send it"


class ShippingMethodNotFound(NotFound):
    slug = "shipping-method-not-found"
    title = "There is no such way of shipping"


class CouponNotFound(NotFound):
    slug = "coupon-not-found"
    title = "There is no such coupon"


class CouponNotApplicable(Unprocessable):
    slug = "coupon-not-applicable"
    title = "This coupon does not apply to this order"


class CouponUsedUp(Conflict):
    slug = "coupon-used-up"
    title = "This coupon has been used as often as it may be"


class CouponInvalid(Invalid):
    slug = "coupon-invalid"
    title = "A coupon cannot look like this"


class CheckoutNotFound(NotFound):
    slug = "checkout-not-found"
    title = "There is no such checkout"


class CouponTaken(Conflict):
    slug = "coupon-taken"
    title = "This merchant has a coupon with this code already"


class DeliveryInvalid(Invalid):
    """`field` is a destination's part, the contact address or a note that cannot be printed or sent to."""

    slug = "delivery-details-invalid"
    title = "An order cannot be sent to a place like this"


class NothingToPay(Unprocessable):
    slug = "nothing-to-pay"
    title = "An order that costs nothing cannot be placed"


class TotalTooLarge(Unprocessable):
    slug = "total-too-large"
    title = "This is more than one order can cost"


class ShippingMethodInvalid(Invalid):
    slug = "shipping-method-invalid"
    title = "A way of shipping cannot look like this"


class TooManyShippingMethods(Conflict):
    slug = "too-many-shipping-methods"
    title = "This merchant has as many ways of shipping as one may have"


class TooManyCarts(Conflict):
    slug = "too-many-carts"
    title = "This customer has as many open carts as one may have"


class CheckoutFact(Struct, frozen=True):
    """A checkout as checkout sees it, for the audit: a placed one has an order with its id and total."""

    order_id: int
    customer_id: int
    status: CheckoutStatus
    total: Money


class AuditsCheckouts(Protocol):
    def checkout_facts(self, after: int = 0) -> AsyncIterator[Sequence[CheckoutFact]]:
        """Every checkout with an order id above `after`, in ascending pages of at most audit.FACTS_PAGE."""
        ...

    async def checkout_facts_of(self, order_ids: Sequence[int]) -> Sequence[CheckoutFact]:
        """Those that exist, at most audit.FACTS_PAGE."""
        ...
