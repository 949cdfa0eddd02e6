"""The life of an order. Pure.

One table says which moves exist; the database applies each only to an order that stands where the move begins.
"""

from __future__ import annotations

from collections.abc import Mapping

from doorbuster.contracts.flash_sale import Claim
from doorbuster.contracts.orders import Line, Order, Status

MOVES: Mapping[Status, frozenset[Status]] = {
    "pending_payment": frozenset({"paid", "cancelled"}),
    "paid": frozenset({"shipped", "delivering", "refunding"}),
    "shipped": frozenset({"completed", "refunding"}),
    "delivering": frozenset({"completed", "refunding"}),
    "completed": frozenset({"refunding"}),
    # A payment that comes in after the goods are gone is given back.
    "cancelled": frozenset({"refunding"}),
    "refunding": frozenset({"refunded"}),
    "refunded": frozenset(),
}
BEGINNING: Status = "pending_payment"
GIVEN_BACK: frozenset[Status] = frozenset({"cancelled", "refunding", "refunded"})
"""The goods are on sale again, whatever becomes of the money."""


class IllegalMove(Exception):
    """Code asked for a move that the table does not have. A bug, found before it reaches a row."""


def check_move(from_status: Status, to_status: Status) -> None:
    """Raises IllegalMove."""
    if to_status not in MOVES[from_status]:
        raise IllegalMove(f"{from_status} → {to_status}")


def order_of(claim: Claim) -> Order:
    """The order that a claim in a flash sale was born with."""
    line = Line(claim.sku_id, claim.title, claim.quantity, claim.unit_price)
    return Order(
        id=claim.order_id,
        customer_id=claim.customer_id,
        sale_id=claim.sale_id,
        status=BEGINNING,
        lines=(line,),
        total=claim.unit_price.times(claim.quantity),
        created_ms=claim.claimed_ms,
        pay_by_ms=claim.pay_by_ms,
        payment_id=None,
    )


def may_be_paid(order: Order, now_ms: int) -> bool:
    return order.status == "pending_payment" and now_ms < order.pay_by_ms
