"""Products of sales that are about to open are asked for beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from conftest import NOW_MS, OpenDatabase
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.warming import AHEAD_MS, Warming
from doorbuster.contracts.flash_sale import SaleProposal
from doorbuster.kernel.clock import ManualClock
from doorbuster.lab.bench.goods import MERCHANT, SKU, OneSku, Plenty
from doorbuster.platform.context import Platform


class Showcase:
    def __init__(self) -> None:
        self.asked: list[Sequence[int]] = []

    async def preload(self, sku_ids: Sequence[int]) -> None:
        self.asked.append(sku_ids)


async def test_from_a_minute_before_until_it_opens(platform: Platform, clock: ManualClock, open_database: OpenDatabase):
    database = await open_database("flash_sale", "doorbuster.contexts.flash_sale.migrations")
    service, showcase = FlashSaleService(platform, database, OneSku(), Plenty()), Showcase()
    opens_ms = NOW_MS + 10 * AHEAD_MS
    for key in ("one", "two"):
        proposal = SaleProposal(SKU.sku_id, 5, SKU.price, 1, opens_ms, opens_ms + AHEAD_MS, 60_000)
        await service.create_sale(MERCHANT, key, proposal)
    warming = Warming(database, showcase, clock)
    assert await warming.warm() == 0
    clock.advance(9 * AHEAD_MS)
    assert await warming.warm() == 1
    assert showcase.asked == [[SKU.sku_id]], "once, though two sales want it"
    clock.advance(AHEAD_MS)
    assert await warming.warm() == 0
    await service.close()
