"""What carts and checkouts look like over HTTP: bodies with their bounds, and answers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.contexts.checkout import model
from doorbuster.contexts.checkout.model import (
    STANDARD,
    Cart,
    CartLine,
    CartStatus,
    Checkout,
    Delivery,
    NewCart,
    Quote,
    Shown,
)
from doorbuster.contracts.checkout import CART_LINES_MAX, LINE_QUANTITY_MAX, CheckoutStatus
from doorbuster.contracts.orders import Fulfilment
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.faces import IdText, MoneyBody, TimeText
from doorbuster.platform.http.places import DestinationBody
from doorbuster.platform.http.tokens import TOKEN_BYTES_MAX

EmailText = Annotated[str, Meta(max_length=model.EMAIL_MAX, pattern=model.EMAIL_PATTERN)]
MethodText = Annotated[str, Meta(pattern=model.METHOD_PATTERN, max_length=32)]
CodeText = Annotated[str, Meta(pattern=model.CODE_PATTERN, max_length=32)]
NoteText = Annotated[str, Meta(max_length=model.NOTE_MAX, pattern=model.NOTE_PATTERN)]
FingerprintText = Annotated[str, Meta(pattern="^[0-9a-f]{16}$", max_length=16)]
Units = Annotated[int, Meta(ge=1, le=LINE_QUANTITY_MAX)]


class CartLineBody(Struct, frozen=True, forbid_unknown_fields=True):
    sku_id: IdText
    quantity: Units


class DeliveryBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Where it goes, whom to write to, and how it is shipped: all of it replaces what the cart said before."""

    destination: DestinationBody
    contact_email: EmailText | None = None
    shipping_method: MethodText = STANDARD

    def delivery(self) -> Delivery:
        return Delivery(self.destination.destination(), self.contact_email, self.shipping_method)


class NewCartBody(Struct, frozen=True, forbid_unknown_fields=True):
    """As much as is known already. A SKU on two lines counts as their sum."""

    lines: Annotated[list[CartLineBody], Meta(max_length=CART_LINES_MAX)] = []
    delivery: DeliveryBody | None = None

    def new_cart(self) -> NewCart:
        """Raises InvalidId."""
        lines = tuple(CartLine(parse_id(line.sku_id), line.quantity) for line in self.lines)
        return NewCart(lines, None if self.delivery is None else self.delivery.delivery())


class QuantityBody(Struct, frozen=True, forbid_unknown_fields=True):
    quantity: Units


class CartCouponBody(Struct, frozen=True, forbid_unknown_fields=True):
    code: CodeText


class MergeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The token of the guest that the customer was before."""

    guest_token: Annotated[str, Meta(min_length=1, max_length=TOKEN_BYTES_MAX, pattern=r"^[A-Za-z0-9_.-]+$")]


class CheckoutBody(Struct, frozen=True, forbid_unknown_fields=True):
    """`quote` is the fingerprint of what the customer has agreed to."""

    quote: FingerprintText
    note: NoteText = ""


class QuotedLineView(Struct, frozen=True):
    """`available`: units that may be had now, told by the quote's own route."""

    sku_id: IdText
    title: str
    quantity: int
    unit_price: MoneyBody
    available: int | None = None


class QuoteView(Struct, frozen=True):
    """What the cart costs: `total` = `subtotal` + `shipping` - `discount`. Give the `fingerprint` to order it."""

    fingerprint: FingerprintText
    lines: list[QuotedLineView]
    fulfilment: Fulfilment
    subtotal: MoneyBody
    shipping: MoneyBody
    discount: MoneyBody
    total: MoneyBody

    @classmethod
    def of(cls, quote: Quote, available: dict[int, int] | None = None) -> QuoteView:
        currency, units = quote.currency, available or {}
        return cls(
            quote.fingerprint,
            [
                QuotedLineView(
                    str(line.sku_id),
                    line.title,
                    line.quantity,
                    MoneyBody(line.unit_price, currency),
                    units.get(line.sku_id),
                )
                for line in quote.lines
            ],
            quote.method.fulfilment,
            MoneyBody(quote.subtotal, currency),
            MoneyBody(quote.shipping, currency),
            MoneyBody(quote.discount, currency),
            MoneyBody(quote.total, currency),
        )


class GuestView(Struct, frozen=True):
    """Told once, when the cart is made without a token. Whoever has the token is this guest."""

    id: IdText
    token: str
    expires_in_s: int


class CartLineView(Struct, frozen=True):
    sku_id: IdText
    quantity: int


class CartView(Struct, frozen=True):
    """`quote` is null if the cart cannot be ordered as it is; the quote's own route says why."""

    id: IdText
    status: CartStatus
    version: int
    merchant_id: IdText | None
    lines: list[CartLineView]
    destination: DestinationBody | None
    contact_email: str | None
    shipping_method: str
    coupon: str | None
    order_id: IdText | None
    quote: QuoteView | None = None
    guest: GuestView | None = None

    @classmethod
    def of(cls, cart: Cart, quote: Quote | None = None, guest: GuestView | None = None) -> CartView:
        content = cart.content
        return cls(
            str(cart.id),
            cart.status,
            cart.version,
            None if content.merchant_id is None else str(content.merchant_id),
            [CartLineView(str(line.sku_id), line.quantity) for line in content.lines],
            None if content.destination is None else DestinationBody.of(content.destination),
            content.contact_email,
            content.shipping_method,
            content.coupon_code,
            None if cart.order_id is None else str(cart.order_id),
            None if quote is None else QuoteView.of(quote),
            guest,
        )

    @classmethod
    def shown(cls, shown: Shown) -> CartView:
        guest = shown.guest
        view = None if guest is None else GuestView(str(guest.id), guest.token, guest.expires_in_s)
        return cls.of(shown.cart, shown.quote, view)


class CartsView(Struct, frozen=True):
    """All open ones: there are at most 10."""

    items: list[CartView]


class MergedView(Struct, frozen=True):
    """One's open carts after the merge, and the units that did not fit."""

    items: list[CartView]
    left_out: list[CartLineView]


class CheckoutView(Struct, frozen=True):
    """A checkout goes by the id of its order, which can be followed and paid under it once `status` is "placed"."""

    order_id: IdText
    cart_id: IdText
    status: CheckoutStatus
    total: MoneyBody
    pay_by: TimeText
    reason: str | None
    sku_ids: list[IdText]

    @classmethod
    def of(cls, checkout: Checkout) -> CheckoutView:
        return cls(
            str(checkout.id),
            str(checkout.cart_id),
            checkout.status,
            MoneyBody.of(checkout.total),
            rfc3339(checkout.draft.pay_by_ms),
            checkout.reason if checkout.stage == "failed" else None,
            [str(sku_id) for sku_id in checkout.reason_skus],
        )
