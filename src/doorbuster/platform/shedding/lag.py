"""How late the event loop comes: the delay that every request has, before its work and between its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SAMPLE_EVERY_S = 0.02


async def watch_lag(tell: Callable[[float], None]) -> None:
    """Tells the lag in seconds, again and again, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + SAMPLE_EVERY_S
        await asyncio.sleep(SAMPLE_EVERY_S)
        tell(max(0.0, loop.time() - due_s))
