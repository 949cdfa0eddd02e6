"""The generator's own book of what it was promised, kept apart from anything the server says later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from .buyers import Buyer

Entry = Literal["new", "replay", "breach"]


class Ack(msgspec.Struct, frozen=True, gc=False):
    """A 201: the server promised `quantity` units to the buyer under this key and order."""

    buyer: Buyer
    key: str
    order_id: str
    quantity: int


class Doubt(msgspec.Struct, frozen=True, gc=False):
    """A claim whose outcome nobody told us."""

    buyer: Buyer
    key: str
    reason: str


class Ledger:
    """Acknowledgements and doubts of one sale. Grows with the claims, one entry per (customer, key)."""

    def __init__(self) -> None:
        self._acks: dict[tuple[str, str], Ack] = {}
        self._doubts: dict[tuple[str, str], Doubt] = {}
        self._sold_out: dict[str, Buyer] = {}
        self._breaches: dict[tuple[str, str, str], Ack] = {}  # by (customer, key, the other order)

    def __len__(self) -> int:
        """Distinct (customer, key) pairs acknowledged."""
        return len(self._acks)

    def acknowledged(self, buyer: Buyer, key: str, order_id: str, quantity: int) -> Entry:
        """Books a 201. The same order again is a replay; another order for the same key is a breach."""
        ack = Ack(buyer, key, order_id, quantity)
        known = self._acks.setdefault((buyer.customer_id, key), ack)
        if known is ack:
            return "new"
        if known.order_id == order_id:
            return "replay"
        self._breaches.setdefault((buyer.customer_id, key, order_id), ack)
        return "breach"

    def doubted(self, buyer: Buyer, key: str, reason: str) -> None:
        """Books that the outcome is unknown; the key must be asked again."""
        self._doubts[buyer.customer_id, key] = Doubt(buyer, key, reason)

    def settled(self, buyer: Buyer, key: str) -> None:
        """Books that asking again gave a definite answer."""
        self._doubts.pop((buyer.customer_id, key), None)

    def sold_out_for(self, buyer: Buyer) -> None:
        """Books that the buyer was told "sold out"."""
        self._sold_out[buyer.customer_id] = buyer

    def order_of(self, customer_id: str, key: str) -> str | None:
        """The order acknowledged for a key."""
        ack = self._acks.get((customer_id, key))
        return ack.order_id if ack else None

    def promises(self) -> list[Ack]:
        """Every order acknowledged, in the order of the acknowledgements; breaches last."""
        return [*self._acks.values(), *self._breaches.values()]

    def doubts(self) -> list[Doubt]:
        """Claims still unknown."""
        return list(self._doubts.values())

    def empty_handed(self) -> list[Buyer]:
        """Buyers who were told "sold out" and hold no acknowledgement: the latecomers of the next refill."""
        winners = {customer_id for customer_id, _ in self._acks}
        return [buyer for customer_id, buyer in self._sold_out.items() if customer_id not in winners]

    def buyers(self) -> Iterator[Buyer]:
        """Everybody the book knows; may repeat."""
        yield from (ack.buyer for ack in self._acks.values())
        yield from (doubt.buyer for doubt in self._doubts.values())
        yield from self._sold_out.values()
