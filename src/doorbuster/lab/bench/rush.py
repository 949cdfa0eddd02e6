"""Everybody wants the same few units of an ordinary product at once; nobody tries again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from doorbuster.lab.bench.settled import all_settled, statuses_of
from doorbuster.lab.bench.shopper import Refused, Shopper, no_times
from doorbuster.lab.demo.shop_process import ShopProcess
from doorbuster.lab.stampede import Pool
from doorbuster.lab.stampede.errors import NoAnswerError

OUT_OF_STOCK = "out-of-stock"


class RushFigures(Struct, frozen=True):
    """`settled`: orders paid in the end. `refused`: by slug. `unclear`: no answer, or none that says what happened."""

    buyers: int
    units: int
    settled: int
    refused: Mapping[str, int]
    charged_and_refunded: int
    unclear: int
    available_after: int

    def breaches(self) -> list[str]:
        """What is not as it must be: every unit sold once, everybody else told so, nobody charged for nothing."""
        expected = {
            "settled": (self.settled, self.units),
            "told that it is out of stock": (self.refused.get(OUT_OF_STOCK, 0), self.buyers - self.units),
            "charged and refunded": (self.charged_and_refunded, 0),
            "without a clear answer": (self.unclear, 0),
            "units available afterwards": (self.available_after, 0),
        }
        return [f"rush: {found} {what}, not {due}" for what, (found, due) in expected.items() if found != due]


async def rush(shop: ShopProcess, pool: Pool, buyers: int, units: int) -> RushFigures:
    """`buyers` at once, each for one of `units` units of a product that nobody else buys meanwhile."""
    products = (await pool.request("GET", "/v1/products?limit=100")).json(dict[str, Any])["items"]
    sku_id: str = products[-1]["skus"][-1]["id"]
    too_many = await _available(pool, sku_id) - units
    await shop.command("stock", "write-off", "--sku", sku_id, "--units", str(too_many))
    crowd = [Shopper(pool, sku_id, no_times()) for _ in range(buyers)]
    outcomes = await asyncio.gather(*(shopper.check_out() for shopper in crowd), return_exceptions=True)
    refused: Counter[str] = Counter()
    unclear = 0
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            refused[str(outcome)] += 1
        elif isinstance(outcome, NoAnswerError):
            unclear += 1
        elif outcome is not None:
            raise outcome
    ordered = [shopper for shopper in crowd if shopper.order_id]
    await all_settled(ordered)
    statuses = Counter(await statuses_of(ordered))
    return RushFigures(
        buyers=buyers,
        units=units,
        settled=statuses["paid"],
        refused=refused,
        charged_and_refunded=statuses["refunding"] + statuses["refunded"],
        unclear=unclear,
        available_after=await _available(pool, sku_id),
    )


async def _available(pool: Pool, sku_id: str) -> int:
    return (await pool.request("GET", f"/v1/skus/{sku_id}/availability")).json(dict[str, Any])["available"]
