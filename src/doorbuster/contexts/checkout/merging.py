"""A guest logs in: their carts become those of the account."""

from __future__ import annotations

from msgspec import Struct

from doorbuster.contexts.checkout import store
from doorbuster.contexts.checkout.model import OPEN_CARTS_MAX, Cart, CartLine, merged
from doorbuster.contracts.checkout import TooManyCarts
from doorbuster.platform.sql.database import Tx


class Merged(Struct, frozen=True):
    """`cart_ids` are all that were touched; `left_out` are units beyond what a cart may hold."""

    cart_ids: tuple[int, ...]
    left_out: tuple[CartLine, ...]


def merge(tx: Tx, guest_id: int, customer_id: int, now_ms: int) -> Merged:
    """Each open cart of the guest goes into the customer's newest of the same merchant and currency, or becomes theirs.

    Quantities add up within the bounds. Done once: a merged cart is not open any more. Raises TooManyCarts.
    """
    locked = store.lock_open_carts_of(tx, (customer_id, guest_id), OPEN_CARTS_MAX)
    theirs = locked[customer_id]
    touched: list[int] = []
    left_out: list[CartLine] = []
    for cart in locked[guest_id]:
        touched.append(cart.id)
        at = next((n for n, each in enumerate(theirs) if _alike(each, cart)), None)
        if at is not None:
            content, too_many = merged(theirs[at].content, cart.content)
            theirs[at] = theirs[at].changed(content)
            store.rewrite(tx, theirs[at], now_ms)
            store.close_merged(tx, cart, now_ms)
            touched.append(theirs[at].id)
            left_out += too_many
        elif not cart.content.lines:
            store.close_merged(tx, cart, now_ms)
        elif len(theirs) < OPEN_CARTS_MAX:
            store.hand_over(tx, cart, customer_id, now_ms)
            theirs.append(cart)
        else:
            raise TooManyCarts(at_most=OPEN_CARTS_MAX)
    return Merged(tuple(touched), tuple(left_out))


def _alike(one: Cart, other: Cart) -> bool:
    here, there = one.content, other.content
    return bool(there.lines) and (here.merchant_id, here.currency) == (there.merchant_id, there.currency)
