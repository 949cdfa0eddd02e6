"""Who is asking."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Role = Literal["customer", "courier", "merchant", "support", "admin"]
ROLES: tuple[Role, ...] = ("customer", "courier", "merchant", "support", "admin")


class Principal(Struct, frozen=True):
    """An authenticated account."""

    account_id: int
    role: Role
