"""The verdict, as a pure function of what was promised and what is there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from .ledger import Ack
from .wire import Sale

IDS_MAX = 20  # offending ids listed per kind


class OrderSeen(msgspec.Struct, frozen=True):
    """An acknowledged order, read through the public API with its buyer's token.

    found: it is there, it is this buyer's, and it holds the units that were promised.
    released: its units went back to the sale, where somebody else may have bought them since.
    `why` says what was wrong when it was not found.
    """

    found: bool
    released: bool = False
    why: str = ""


class Verification(msgspec.Struct, frozen=True):
    """What the books say.

    lost: acknowledged orders that are not there, not the buyer's, or short of units.
    phantom: keys with two orders + orders acknowledged under two keys + customers over the limit.
    oversold: units of acknowledged, unreleased orders beyond the units of the sale.
    unknown: claims that stayed unknown after asking again; unreadable: orders that could not be read.
    recovered: claims that turned out to be acknowledged when asked again.
    """

    checked: int
    lost: int
    phantom: int
    oversold: int
    unknown: int
    unreadable: int
    recovered: int
    active_units: int
    released_orders: int
    sale_units: int | None
    lost_ids: list[str]
    phantom_ids: list[str]
    oversold_ids: list[str]
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing phantom, nothing oversold, and nothing left open."""
        wrong = self.lost + self.phantom + self.oversold
        return wrong + self.unknown + self.unreadable == 0 and self.sale_units is not None


class OpenEnds(msgspec.Struct, frozen=True):
    """What the verification could not settle, and how it knows."""

    unknown: int = 0
    recovered: int = 0
    problems: Sequence[str] = ()


def judge(
    sale: Sale | None,
    promises: Sequence[Ack],
    orders: Mapping[tuple[str, str], OrderSeen],
    open_ends: OpenEnds,
) -> Verification:
    """Compares promises with orders.

    `orders` is keyed by (customer id, order id); an order that is missing there could not be read.
    """
    lost: list[str] = []
    active: dict[tuple[str, str], Ack] = {}
    unreadable = released = 0
    for ack in promises:
        seen = orders.get((ack.buyer.customer_id, ack.order_id))
        if seen is None:
            unreadable += 1
        elif not seen.found:
            lost.append(f"{ack.order_id} ({seen.why})")
        elif seen.released:
            released += 1
        if seen is None or not seen.released:  # a lost promise is a promise all the same
            active[ack.buyer.customer_id, ack.key + "/" + ack.order_id] = ack
    phantom = _phantoms(sale, promises, active.values())
    oversold, beyond = _oversold(sale, active.values())
    return Verification(
        checked=len(promises),
        lost=len(lost),
        phantom=len(phantom),
        oversold=oversold,
        unknown=open_ends.unknown,
        unreadable=unreadable,
        recovered=open_ends.recovered,
        active_units=sum(ack.quantity for ack in active.values()),
        released_orders=released,
        sale_units=sale.units if sale else None,
        lost_ids=lost[:IDS_MAX],
        phantom_ids=phantom[:IDS_MAX],
        oversold_ids=beyond[:IDS_MAX],
        problems=list(open_ends.problems)[:IDS_MAX],
    )


def _phantoms(sale: Sale | None, promises: Sequence[Ack], active: Iterable[Ack]) -> list[str]:
    orders_of_key: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    keys_of_order: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for ack in promises:
        key = (ack.buyer.customer_id, ack.key)
        orders_of_key[key].add(ack.order_id)
        keys_of_order[ack.order_id].add(key)
    found = [f"key {key[1]}: orders {', '.join(sorted(o))}" for key, o in orders_of_key.items() if len(o) > 1]
    found += [f"order {order}: acknowledged under {len(k)} keys" for order, k in keys_of_order.items() if len(k) > 1]
    return found + _over_limit(sale, active)


def _over_limit(sale: Sale | None, active: Iterable[Ack]) -> list[str]:
    if sale is None or sale.limit_per_customer is None:
        return []
    units: Counter[str] = Counter()
    for ack in active:
        units[ack.buyer.customer_id] += ack.quantity
    limit = sale.limit_per_customer
    return [f"customer {who}: {held} units, limit {limit}" for who, held in units.items() if held > limit]


def _oversold(sale: Sale | None, active: Iterable[Ack]) -> tuple[int, list[str]]:
    if sale is None:
        return 0, []
    promised, beyond = 0, list[str]()
    for ack in active:
        promised += ack.quantity
        if promised > sale.units:
            beyond.append(ack.order_id)
    return max(0, promised - sale.units), beyond
