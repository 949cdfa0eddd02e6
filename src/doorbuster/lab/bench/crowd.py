"""Shoppers with tokens of their own, made without the shop: their key is the server's."""

from __future__ import annotations

from random import Random

from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key

DISTINCT_MIN = 20_000
PER_SECOND_MAX = 30_000
"""More customers than any server here serves in a second, so that nobody comes twice to a sale."""
LIFETIME_S = 24 * 3600
SEED = 1


def tokens_for(key: Key, seconds: float) -> list[str]:
    """Tokens of so many customers that each claims once within `seconds`, in random order of their ids."""
    clock = SystemClock()
    ids, ring = Snowflake(clock, worker=0), KeyRing([key], clock)
    count = max(DISTINCT_MIN, int(seconds * PER_SECOND_MAX))
    tokens = [ring.sign(Principal(ids.next_owner(), "customer"), LIFETIME_S) for _ in range(count)]
    Random(SEED).shuffle(tokens)
    return tokens
