"""A stream is the rows after a cursor: read from the store, page by page, whenever the hub says that there are more.

Whoever comes back with the last cursor they have seen goes on exactly there: nothing is lost, nothing comes twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import structlog

from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.hub import Subscription

ReadAfter = Callable[[int, int], Awaitable[Sequence[tuple[int, bytes]]]]
"""(cursor, limit) → at most `limit` rows behind the cursor, as (cursor, JSON without line breaks), ascending.

Cursors must become visible in their own order: number rows under a lock that all writers of one stream share (a
counter in a row of the stream's owner), or a reader may pass over one that is committed late.
"""

PAGE = 100
OUTAGE_PAUSE_S = 1.0

log = structlog.get_logger("live")


async def pages_after(
    read: ReadAfter, subscription: Subscription, cursor: int
) -> AsyncGenerator[Sequence[tuple[int, bytes]]]:
    """Pages of rows behind `cursor`, without end: it waits for more, and for the store when that is away."""
    while True:
        subscription.take()
        more = True
        while more:
            try:
                rows = await read(cursor, PAGE)
            except Busy as outage:
                log.warning("stream waits", error=repr(outage))
                await asyncio.sleep(OUTAGE_PAUSE_S)
                continue
            if rows:
                cursor = rows[-1][0]
                yield rows
            more = len(rows) == PAGE
        await subscription.wait()
