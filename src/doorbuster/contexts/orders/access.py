"""Whose order it is. Somebody else's is not found."""

from __future__ import annotations

from typing import Literal

from doorbuster.contracts.orders import Order
from doorbuster.kernel.principal import Principal


def is_customer(principal: Principal, order: Order) -> bool:
    return principal.account_id == order.customer_id


def sells(principal: Principal, order: Order) -> bool:
    """Whether this is the order's merchant, or somebody who acts for the shop."""
    if principal.role == "merchant":
        return principal.account_id == order.merchant_id
    return principal.role in ("support", "admin")


def who_of(principal: Principal, order: Order) -> Literal["customer", "merchant", "support"]:
    if is_customer(principal, order):
        return "customer"
    return "merchant" if principal.role == "merchant" else "support"


def actor_of(principal: Principal) -> str:
    return f"account {principal.account_id}"
