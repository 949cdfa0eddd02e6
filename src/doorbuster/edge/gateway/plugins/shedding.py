"""Whether there is room: under pressure the least urgent requests are refused at once."""

from __future__ import annotations

import time

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.ports import Shedder


def shed(following: Handler, shedder: Shedder) -> Handler:
    """The handler raises what the shedder refuses with (Busy)."""

    async def shed_or_go_on(exchange: Exchange) -> None:
        shedder.enter(exchange.context.priority, exchange.context.deadline)
        begun_s = time.monotonic()
        try:
            await following(exchange)
        finally:
            shedder.leave(time.monotonic() - begun_s)

    return shed_or_go_on
