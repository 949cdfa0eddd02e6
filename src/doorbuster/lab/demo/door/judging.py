"""Looks at the whole act from outside, when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from doorbuster.lab.demo.door.buying import Buying
from doorbuster.lab.demo.door.cast import Cast
from doorbuster.lab.demo.door.fairness import Drawn, Seen, most_by_chance, seen_of, wrong_with_draw, wrong_with_order
from doorbuster.lab.demo.door.following import read_draw
from doorbuster.lab.demo.door.load import Load
from doorbuster.lab.demo.door.outcome import Bots, Crowd, Door, Sold
from doorbuster.lab.demo.door.trouble import Trouble
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.demo.statement import captured_at_provider
from doorbuster.lab.stampede import Plan, Pool, verify

READERS = 32
BEYOND = 50
"""Tickets behind the last one let in that are looked at too."""
SHOWN_MAX = 10


@dataclass
class Played:
    """What the act has noted of itself."""

    cast: Cast
    buying: Buying
    units: int
    load: Load | None = None
    trouble: Trouble | None = None
    capacity_before: tuple[float, float] = (0.0, 0.0)
    capacity_after: tuple[float, float] = (0.0, 0.0)
    offered: float = 0.0
    lasted_s: float = 0.0
    loaded: int = 0
    breaker: tuple[str, int] = ("", 0)
    orders: Mapping[str, int] = field(default_factory=dict[str, int])

    async def somebody_is_in(self) -> bool | None:
        """True as soon as the first admission was noticed."""
        return True if any(visitor.admission for visitor in self.cast.everybody) else None

    @property
    def sale_id(self) -> str:
        return self.cast.place.sale_id


async def judged(played: Played, problems: Sequence[str], base_url: str, simulator_url: str) -> Door:
    """Raises ShopFailed, also if it broke off before the crowd came."""
    load, trouble, buying = played.load, played.trouble, played.buying
    if load is None or trouble is None:
        raise ShopFailed(f"the third act broke off: {'; '.join(problems)}")
    async with Pool(base_url) as http:
        drawn = await read_draw(lambda path: _get(http, path), played.sale_id)
        least = await _released(http, played.sale_id)
        seen = await _tickets(http, played, drawn, least)
        released = await _released(http, played.sale_id)  # units may have come back meanwhile
    order_ids = frozenset(ack.order_id for ack in buying.ledger.promises())
    verified = await verify(Plan(base_url=base_url, sale_id=played.sale_id, rate_per_s=1.0), buying.ledger)
    paid = played.orders.get("paid", 0)
    captures = await captured_at_provider(simulator_url, order_ids)
    state, opened = played.breaker
    door = Door(
        ok=False,
        failed=(),
        crowd=_crowd(played, load, trouble),
        sold=Sold(played.units, paid, captures, played.orders.get("cancelled", 0), verified),
        bots=_bots(played, load, trouble, drawn, released),
        waiting_room=[*wrong_with_draw(drawn), *wrong_with_order(seen, least, released)][:SHOWN_MAX],
        tickets=len(drawn.places),
        released=released,
        breaker_opened=opened - trouble.opened_before,
        breaker_closed=state == "closed",
        flushed=trouble.flushed,
        loaded_again=max(0, played.loaded - trouble.loads_before),
        payments_refused=dict(buying.payments_refused),
        limit=trouble.limit,
        problems=tuple(problems),
    )
    return Door.judged(door)


def _crowd(played: Played, load: Load, trouble: Trouble) -> Crowd:
    counts = load.counts
    p50_ms, p99_ms = load.latency.percentiles_ms(50.0, 99.0)
    before, after = played.capacity_before, played.capacity_after
    return Crowd(
        capacity=before[0],
        capacity_good=before[1],
        capacity_good_after=after[1],
        offered=played.offered,
        sent=counts.sent / max(played.lasted_s, 0.001),
        calm=trouble.good_per_s("calm", "trouble"),
        trouble=trouble.good_per_s("trouble", "over"),
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        refused=dict(counts.refused),
        not_sent=counts.not_sent,
        unanswered=counts.unanswered,
    )


def _bots(played: Played, load: Load, trouble: Trouble, drawn: Drawn, released: int) -> Bots:
    bots = played.cast.bots
    tickets = {bot.ticket_id for bot in bots}
    lot = [ticket for _, ticket, by_lot in drawn.places if by_lot]
    let_in = lot[:released]
    before, after = trouble.limited_per_s("calm", "limit"), trouble.limited_per_s("limit", "over")
    return Bots(
        accounts=len(bots),
        cheats=load.counts.cheats,
        stolen=load.counts.stolen,
        let_in=len(tickets.intersection(let_in)),
        claimed=sum(bool(bot.order_id) for bot in bots),
        most=most_by_chance(len(lot), len(tickets.intersection(lot)), len(let_in)),
        limited_before=before,
        limited_after=after,
        people_limited=load.counts.people_limited / max(1, load.counts.good),
    )


async def _released(http: Pool, sale_id: str) -> int:
    return (await _get(http, f"/v1/sales/{sale_id}/waiting-room"))["released"]


async def _tickets(http: Pool, played: Played, drawn: Drawn, released: int) -> Sequence[Seen]:
    """Of everybody who was let in, and some behind them."""
    path = f"/v1/sales/{played.sale_id}/waiting-room/tickets/mine"
    visitors = {visitor.ticket_id: visitor for visitor in played.cast.everybody}
    queue = iter([visitors[ticket] for place, ticket, _ in drawn.places if place <= released + BEYOND])
    found: list[Seen] = []

    async def read() -> None:
        for visitor in queue:
            ticket = await _get(http, path, visitor.buyer.token)
            found.append(seen_of(ticket, claimed=bool(visitor.order_id)))

    await asyncio.gather(*(read() for _ in range(READERS)))
    return found


async def _get(http: Pool, path: str, token: str = "") -> dict[str, Any]:
    """Raises ShopFailed."""
    answer = await http.request("GET", path, {"Authorization": f"Bearer {token}"} if token else {})
    if answer.status != 200:
        raise ShopFailed(f"GET {path} was answered {answer.status}: {answer.body[:300]!r}")
    return answer.json(dict[str, Any])
