"""Which upstream a request goes to: the one a plugin has chosen, else one drawn by weight."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.settings import Share


def balanced(shares: Sequence[Share], upstreams: Mapping[str, Handler], dice: random.Random) -> Handler:
    """`shares` has a weight above zero, and every name is known."""
    drawn = [share for share in shares if share.weight]
    if len(drawn) == 1:
        only = drawn[0].upstream

        def draw() -> str:
            return only
    else:
        bounds = list(accumulate(share.weight for share in drawn))

        def draw() -> str:
            return drawn[bisect(bounds, dice.randrange(bounds[-1]))].upstream

    async def ask(exchange: Exchange) -> None:
        exchange.upstream = exchange.upstream or draw()
        await upstreams[exchange.upstream](exchange)

    return ask
