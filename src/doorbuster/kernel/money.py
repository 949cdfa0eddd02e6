"""Amounts: integer minor units with a currency."""

from __future__ import annotations

import re

from msgspec import Struct

from doorbuster.kernel.errors import Invalid

AMOUNT_MAX = 10**13
"""Largest amount in minor units (a hundred billion of most currencies): keeps every sum within 64 bits."""

_CURRENCY = re.compile(r"[A-Z]{3}")


class CurrencyMismatch(Invalid):
    slug = "currency-mismatch"
    title = "Amounts of different currencies cannot be combined"


class Money(Struct, frozen=True):
    """`amount` minor units (cents, fen) of an ISO 4217 `currency`. Not ordered: 1 USD against 2 CNY has no answer."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if not -AMOUNT_MAX <= self.amount <= AMOUNT_MAX:
            raise ValueError(f"amount out of range: {self.amount}")
        if not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"not an ISO 4217 currency code: {self.currency!r}")

    def __add__(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")
        return Money(self.amount + other.amount, self.currency)

    def times(self, quantity: int) -> Money:
        return Money(self.amount * quantity, self.currency)
