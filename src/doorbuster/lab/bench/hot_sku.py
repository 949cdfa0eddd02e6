"""(b) One hot SKU, sold by pessimistic lock, by optimistic version and by group commit: in process, without HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from statistics import median

from msgspec import Struct

from doorbuster.contracts.flash_sale import UNITS_MAX, ClaimRequest
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.lab.bench.books import books_of, breaches
from doorbuster.lab.bench.sellers import CLIENTS, STRATEGIES, GaveUp, Seller, Strategy, open_seller
from doorbuster.lab.bench.stores import ENGINES, Engine, Skipped, Stores

WARM_UP_S = 0.3


class HotFigures(Struct, frozen=True):
    """Medians over the rounds. `lost_races`: how often a claim was tried again, per claim sold."""

    per_s: float
    claims: int
    lost_races: float
    gave_up: int
    per_s_of_rounds: tuple[float, ...]


class HotResult(Struct, frozen=True):
    figures: Mapping[Engine, Mapping[Strategy, HotFigures] | Skipped]
    breaches: Sequence[str]


async def measure_hot_sku(stores: Stores, seconds: float, rounds: int, say: Callable[[str], None]) -> HotResult:
    """Strategies in turn, `rounds` times, on both engines; the books are audited in the end."""
    figures: dict[Engine, Mapping[Strategy, HotFigures] | Skipped] = {}
    broken: list[str] = []
    for engine in ENGINES:
        if engine not in stores.engines:
            figures[engine] = Skipped(stores.missing)
            continue
        async with AsyncExitStack() as stack:
            markets: dict[Strategy, Market] = {}
            for strategy in STRATEGIES:
                markets[strategy] = await stack.enter_async_context(_market(strategy, engine, stores, broken))
            for number in range(rounds):
                for strategy, market in markets.items():
                    await market.sell_for(WARM_UP_S)
                    per_s = await market.sell_for(seconds)
                    market.per_s.append(per_s)
                    say(f"hot   {engine:9} {strategy:12} round {number + 1}: {per_s:7.0f}/s")
            figures[engine] = {strategy: market.figures() for strategy, market in markets.items()}
    return HotResult(figures, broken)


class Market:
    """A seller and its crowd, every claim by a customer of its own."""

    def __init__(self, seller: Seller) -> None:
        self.seller = seller
        self.sold = 0
        self.gave_up = 0
        self.per_s: list[float] = []
        self._customers = Snowflake(SystemClock(), worker=0)
        self._keys = count(1)

    async def sell_for(self, seconds: float) -> float:
        """Sells for so long with CLIENTS clients; units sold per second, counted until the last one is answered."""
        sold, begun_s = self.sold, time.monotonic()
        end_s = begun_s + seconds
        clock = iter(lambda: time.monotonic() < end_s, False)
        await asyncio.gather(*(self.buy(client, clock) for client in range(CLIENTS)))
        return (self.sold - sold) / (time.monotonic() - begun_s)

    async def buy(self, client: int, turns: Iterator[object]) -> None:
        """One client, who buys once per turn. Raises SoldOut."""
        for _ in turns:
            request = ClaimRequest(self.seller.sale_id, self._customers.next_owner(), f"{next(self._keys):x}", 1)
            try:
                await self.seller.claim(client, request)
            except GaveUp:
                self.gave_up += 1
            else:
                self.sold += 1

    def figures(self) -> HotFigures:
        lost_races = self.seller.lost_races / self.sold if self.sold else 0.0
        return HotFigures(median(self.per_s), self.sold, lost_races, self.gave_up, tuple(self.per_s))


@asynccontextmanager
async def _market(strategy: Strategy, engine: Engine, stores: Stores, broken: list[str]) -> AsyncGenerator[Market]:
    async with stores.fresh(engine) as settings, open_seller(strategy, settings, UNITS_MAX) as seller:
        market = Market(seller)
        yield market
        broken += breaches(f"hot sku {engine} {strategy}", market.sold, await books_of(seller.databases[0]))
