"""The nodes of a cluster and its slots, asked again in the background when an answer or a failure says they changed.

Whoever comes first waits for it; with a cluster that did not answer nobody does: it is tried again beside the work.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog

from doorbuster.kernel.errors import Busy, Unavailable
from doorbuster.platform.neighbour import Neighbour
from doorbuster.platform.redis.address import ClusterAddress
from doorbuster.platform.redis.server import FAILURES, Server
from doorbuster.platform.redis.settings import TIMEOUT_S
from doorbuster.platform.redis.slots import NODES_MAX, Slots

ANEW_S = 1.0
"""So much time is between two questions for the slots."""
ASKED_MAX = 8
"""So many nodes are asked for them in turn."""

log = structlog.get_logger("redis")


class Topology:
    def __init__(self, address: ClusterAddress, neighbour_of: Callable[[str], Neighbour]) -> None:
        self._address, self._neighbour_of = address, neighbour_of
        self.slots = Slots()
        self._servers: dict[str, Server] = {}
        self._learning: asyncio.Task[None] | None = None
        self._again_at_s = 0.0
        self._answered = True

    def server(self, place: str) -> Server:
        """Raises Unavailable."""
        known = self._servers.get(place)
        if known is None:
            if len(self._servers) >= NODES_MAX:
                raise Unavailable("the Redis Cluster names too many nodes")
            known = self._servers[place] = Server(self._address.url_of(place), self._neighbour_of(place))
        return known

    async def known(self) -> None:
        """Slots are known. Raises Unavailable, TimeoutError."""
        if self.slots.places:
            return
        answered = self._answered
        self.doubt()
        if answered and self._learning is not None:
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.shield(self._learning)
        if not self.slots.places:
            raise Unavailable("the Redis Cluster does not answer")

    def doubt(self) -> None:
        """What is known may have changed: it will be asked for, not more often than every ANEW_S."""
        loop = asyncio.get_running_loop()
        if self._learning is None and loop.time() >= self._again_at_s:
            self._learning = loop.create_task(self._learn(), name="redis cluster slots")
            self._learning.add_done_callback(self._learned)

    async def _learn(self) -> None:
        places = list(dict.fromkeys([*_shuffled(self.slots.places), *_shuffled(self._address.seeds)]))
        for place in places[:ASKED_MAX]:
            try:
                shares = await self.server(place).ask(("CLUSTER", "SLOTS"))
            except (*FAILURES, Busy) as failure:
                log.warning("a node of the Redis Cluster does not tell the slots", node=place, error=repr(failure))
                continue
            if shares:
                self.slots.learn(shares, place)
                self._answered = True
                await self._leave_strangers()
                return
        self._answered = False

    async def _leave_strangers(self) -> None:
        """Closes the way to nodes that have no slots any more, unless somebody uses it."""
        kept = {*self.slots.places, *self._address.seeds}
        strangers = [place for place, server in self._servers.items() if place not in kept and not server.busy]
        for server in [self._servers.pop(place) for place in strangers]:
            await server.close()

    async def close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait([self._learning])
        for server in self._servers.values():
            await server.close()

    def _learned(self, task: asyncio.Task[None]) -> None:
        self._learning = None
        self._again_at_s = task.get_loop().time() + ANEW_S
        if not task.cancelled():
            task.result()  # a bug is not kept quiet


def _shuffled(places: Sequence[str]) -> Sequence[str]:
    """So that not all processes ask the same node."""
    return random.sample(places, len(places))
