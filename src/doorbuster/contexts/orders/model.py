"""The life of an order. Pure.

One table says which moves exist and who makes them; the database applies each only to an order that stands where the
move begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from doorbuster.contracts.flash_sale import Claim
from doorbuster.contracts.orders import (
    Fulfilment,
    Line,
    Order,
    OrderDraft,
    PaidLine,
    RefundInvalid,
    Status,
)
from doorbuster.kernel.money import Money

Who = Literal["customer", "merchant", "support", "payments", "deadline", "checkout", "delivery", "inventory"]

_PEOPLE: frozenset[Who] = frozenset({"customer", "merchant", "support"})
_SELLERS: frozenset[Who] = frozenset({"merchant", "support"})
_DELIVERY: frozenset[Who] = frozenset({"delivery"})

MOVES: Mapping[Status, Mapping[Status, frozenset[Who]]] = {
    "pending_payment": {
        "paid": frozenset({"payments"}),
        "cancelled": frozenset({*_PEOPLE, "deadline", "checkout"}),
    },
    "paid": {
        "shipped": _DELIVERY,
        "delivering": _DELIVERY,
        # Cancelled by people, refunded in parts until nothing was left, or paid when its units were gone.
        "refunding": frozenset({*_PEOPLE, "inventory"}),
    },
    "shipped": {"completed": frozenset({"customer", "support", "deadline", "delivery"}), "refunding": _SELLERS},
    "delivering": {"completed": frozenset({"delivery", "support"}), "refunding": _SELLERS},
    "completed": {"refunding": _SELLERS},
    # A payment that comes in after the goods are gone is given back.
    "cancelled": {"refunding": frozenset({"payments"})},
    "refunding": {"refunded": frozenset({"payments"})},
    "refunded": {},
}
BEGINNING: Status = "pending_payment"
GIVEN_BACK: frozenset[Status] = frozenset({"cancelled", "refunding", "refunded"})
"""Nothing is sent off any more."""
REFUNDABLE: tuple[Status, ...] = ("paid", "shipped", "delivering", "completed")
"""Where an order may stand while some of its money is asked back."""
SENT_OFF: Mapping[Fulfilment, Status] = {"parcel": "shipped", "takeout": "delivering"}


class IllegalMove(Exception):
    """Code asked for a move that the table does not have. A bug, found before it reaches a row."""


def check_move(from_status: Status, to_status: Status, who: Who) -> None:
    """Raises IllegalMove."""
    makers = MOVES[from_status].get(to_status)
    if makers is None:
        raise IllegalMove(f"{from_status} → {to_status}")
    if who not in makers:
        raise IllegalMove(f"{from_status} → {to_status} is not for {who}")


def order_of(claim: Claim) -> Order:
    """The order that a claim in a flash sale was born with: a parcel whose destination its customer adds."""
    total = claim.unit_price.times(claim.quantity)
    nothing = Money(0, total.currency)
    return Order(
        id=claim.order_id,
        customer_id=claim.customer_id,
        merchant_id=claim.merchant_id,
        sale_id=claim.sale_id,
        fulfilment="parcel",
        status=BEGINNING,
        lines=(Line(claim.sku_id, claim.title, claim.quantity, claim.unit_price),),
        shipping=nothing,
        discount=nothing,
        total=total,
        refunded=nothing,
        created_ms=claim.claimed_ms,
        pay_by_ms=claim.pay_by_ms,
        payment_id=None,
    )


class DraftInvalid(ValueError):
    """Checkout priced an order that cannot be: a bug there."""


def order_from(draft: OrderDraft) -> Order:
    """The order that checkout places. Raises DraftInvalid."""
    currency = draft.shipping.currency
    if not draft.lines or any(line.unit_price.currency != currency for line in draft.lines):
        raise DraftInvalid(f"order {draft.id} has no lines, or several currencies")
    amount = _sum_of(draft.lines) + draft.shipping.amount - draft.discount.amount
    if amount < 0 or draft.discount.currency != currency:
        raise DraftInvalid(f"order {draft.id} comes to {amount} {currency}")
    return Order(
        id=draft.id,
        customer_id=draft.customer_id,
        merchant_id=draft.merchant_id,
        sale_id=None,
        fulfilment=draft.fulfilment,
        status=BEGINNING,
        lines=draft.lines,
        shipping=draft.shipping,
        discount=draft.discount,
        total=Money(amount, currency),
        refunded=Money(0, currency),
        created_ms=draft.created_ms,
        pay_by_ms=draft.pay_by_ms,
        payment_id=None,
        destination=draft.destination,
        contact_email=draft.contact_email,
        note=draft.note,
    )


def _sum_of(lines: Sequence[Line]) -> int:
    return sum(line.unit_price.amount * line.quantity for line in lines)


def may_be_paid(order: Order, now_ms: int) -> bool:
    return order.status == "pending_payment" and now_ms < order.pay_by_ms


class RefundLine(Struct, frozen=True):
    """`quantity` units of the order's line number `n`, from 1."""

    n: int
    quantity: int


class RefundAsked(Struct, frozen=True):
    """What a refund is for: units of lines, an amount in minor units, or both (then the amount counts).

    `restock`: the units are back in the warehouse.
    """

    lines: tuple[RefundLine, ...]
    amount: int | None
    restock: bool
    reason: str


def amount_of_refund(order: Order, asked: RefundAsked, refunded: Mapping[int, int]) -> int:
    """In minor units: the amount, or what the units cost, less their share of the discount. Raises RefundInvalid.

    `refunded` says how many units of which line were refunded before: the shares are rounded on the running sum, so
    that unit by unit exactly what was paid for the lines goes back.
    """
    numbers = [line.n for line in asked.lines]
    if len(set(numbers)) < len(numbers) or any(not 1 <= n <= len(order.lines) for n in numbers):
        raise RefundInvalid("a line is named twice, or is none of the order's")
    if asked.amount is not None:
        return asked.amount
    if not asked.lines:
        raise RefundInvalid("say which lines are refunded, or how much")
    cost = sum(order.lines[line.n - 1].unit_price.amount * line.quantity for line in asked.lines)
    before = sum(order.lines[n - 1].unit_price.amount * quantity for n, quantity in refunded.items())
    return cost - (_share_of_discount(order, before + cost) - _share_of_discount(order, before))


def _share_of_discount(order: Order, cost: int) -> int:
    of_all = _sum_of(order.lines)
    # A discount may be larger than the lines, if it pays for the shipping too.
    return min(order.discount.amount, of_all) * cost // max(1, of_all)


def check_quantities(order: Order, asked: RefundAsked, refunded: Mapping[int, int]) -> None:
    """`refunded` says how many units of which line were refunded before. Raises RefundInvalid."""
    for line in asked.lines:
        left = order.lines[line.n - 1].quantity - refunded.get(line.n, 0)
        if not 1 <= line.quantity <= left:
            raise RefundInvalid(f"of line {line.n} {left} units can still be refunded", line=line.n, left=left)


def units_of(lines: Sequence[Line | PaidLine], returned: Mapping[int, int] | None = None) -> tuple[PaidLine, ...]:
    """The units of an order that have not been returned to stock yet (`returned`: by line number)."""
    gone = returned or {}
    left = [PaidLine(line.sku_id, line.quantity - gone.get(n, 0)) for n, line in enumerate(lines, start=1)]
    return tuple(line for line in left if line.quantity > 0)
