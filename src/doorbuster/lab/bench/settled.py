"""Whether orders are settled, from their own pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from doorbuster.lab.bench.shopper import Shopper
from doorbuster.platform.pools import at_most

SETTLE_S = 60.0
LOOKED_AT = 64
"""Events arrive in order: when the last ones are settled, the others are."""
ASKED_AT_ONCE = 256
PAUSE_S = 0.05


async def all_settled(paid: Sequence[Shopper]) -> None:
    """Waits until the last orders are not pending any more; at most SETTLE_S, then their pages tell."""
    deadline_s = time.monotonic() + SETTLE_S
    for shopper in reversed(paid[-LOOKED_AT:]):
        while await shopper.status() == "pending_payment" and time.monotonic() < deadline_s:
            await asyncio.sleep(PAUSE_S)


async def statuses_of(shoppers: Sequence[Shopper]) -> list[str]:
    """What the page of every order says."""
    return await at_most(ASKED_AT_ONCE, shoppers, Shopper.status)
