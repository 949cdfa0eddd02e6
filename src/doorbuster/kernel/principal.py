"""Who is asking."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Role = Literal["guest", "customer", "courier", "merchant", "support", "admin"]
"""A guest has a token and an id of their own, and no account: they may fill a cart, order, pay and look at that."""
ACCOUNT_ROLES: tuple[Role, ...] = ("customer", "courier", "merchant", "support", "admin")
ROLES: tuple[Role, ...] = ("guest", *ACCOUNT_ROLES)


class Principal(Struct, frozen=True):
    """An authenticated account, or a guest; `account_id` is unique among both."""

    account_id: int
    role: Role
