"""A Redis Cluster: each key is asked of the master that has its slot, each master is a neighbour of its own.

What a redirection says (MOVED, ASK) is followed at once; nothing else is asked twice. The library's own cluster client
is not used: see docs/decisions/0027-redis-cluster.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from doorbuster.kernel.errors import Busy, Unavailable
from doorbuster.platform.neighbour import Neighbour
from doorbuster.platform.redis.address import ClusterAddress, host_of, named
from doorbuster.platform.redis.scripts import Call, Source
from doorbuster.platform.redis.server import FAILURES, Server
from doorbuster.platform.redis.topology import Topology
from doorbuster.platform.redis.way import Words

REDIRECTIONS_MAX = 5
"""A slot on the move takes two at most: to its new master before all have heard, and on to where its keys are."""
KEYLESS = frozenset(
    {"CLIENT", "CLUSTER", "CONFIG", "DBSIZE", "ECHO", "EVAL", "EVALSHA", "FLUSHALL"}
    | {"FLUSHDB", "INFO", "KEYS", "PING", "SCAN", "SCRIPT", "TIME"}
)
"""Commands whose second word is no key: what they mean on a cluster, the caller must say."""


class Place(NamedTuple):
    """`asking`: it is only getting the slot."""

    address: str
    asking: bool = False


class Cluster:
    def __init__(self, url: str, neighbour_of: Callable[[str], Neighbour]) -> None:
        """Raises ValueError."""
        self._topology = Topology(ClusterAddress.of(url), neighbour_of)

    def place_of(self, key: str) -> str:
        return self._topology.slots.owner(key)

    async def places(self) -> Sequence[str]:
        await self._topology.known()
        return self._topology.slots.places

    async def ask(self, words: Words, at: str | None = None) -> Any:
        """Raises ValueError for a command without a key, if it is not said where."""
        if at is not None:
            return await self._heard(self._topology.server(at).ask(words))
        if len(words) < 2 or str(words[0]).upper() in KEYLESS:
            raise ValueError(f"which servers of the cluster is {words[0]} for?")
        return await self._redirected(str(words[1]), lambda server, asking: server.ask(words, asking=asking))

    async def run(self, source: Source, keys: Sequence[str], words: Words) -> Any:
        return await self._redirected(keys[0], lambda server, asking: server.run(source, keys, words, asking=asking))

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        await self._topology.known()
        answers: list[Any] = [None] * len(calls)
        todo = {at: Place(self.place_of(call.key)) for at, call in enumerate(calls)}
        for _ in range(1 + REDIRECTIONS_MAX):
            groups: dict[Place, list[int]] = {}
            for at, place in todo.items():
                groups.setdefault(place, []).append(at)
            found = await asyncio.gather(
                *(self._run_group(place, [calls[at] for at in group]) for place, group in groups.items())
            )
            todo = {}
            for (place, group), told in zip(groups.items(), found, strict=True):
                for at, answer in zip(group, told, strict=True):
                    answers[at] = answer
                    if isinstance(answer, ClusterDownError):
                        self._topology.doubt()
                    if isinstance(answer, AskError):
                        todo[at] = self._followed(answer, place)
            if not todo:
                break
        return answers

    async def close(self) -> None:
        await self._topology.close()

    async def _run_group(self, place: Place, calls: Sequence[Call]) -> list[Any]:
        """Their answers; a server that is away lets down its own calls only."""
        try:
            return await self._heard(self._server(place).run_all(calls, asking=place.asking))
        except (*FAILURES, Busy) as failure:
            return [failure] * len(calls)

    async def _redirected(self, key: str, ask: Callable[[Server, bool], Awaitable[Any]]) -> Any:
        await self._topology.known()
        place = Place(self.place_of(key))
        for _ in range(1 + REDIRECTIONS_MAX):
            try:
                return await self._heard(ask(self._server(place), place.asking))
            except AskError as told:
                place = self._followed(told, place)
        raise Unavailable("the nodes of the Redis Cluster send us to one another")

    def _server(self, place: Place) -> Server:
        if not place.address:
            self._topology.doubt()
            raise Unavailable("nobody in the Redis Cluster has this slot")
        return self._topology.server(place.address)

    def _followed(self, told: AskError, sent_by: Place) -> Place:
        """Where an answer sends us. MOVED is for good, and perhaps not the only slot that moved."""
        host = str(told.host)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        address = named(host or host_of(sent_by.address), told.port)
        if not isinstance(told, MovedError):
            return Place(address, asking=True)
        self._topology.slots.moved(told.slot_id, address)
        self._topology.doubt()
        return Place(address)

    async def _heard(self, asked: Awaitable[Any]) -> Any:
        """A server that does not answer may not have its slots any more."""
        try:
            return await asked
        except (*FAILURES, Busy) as failure:
            if isinstance(failure, ClusterDownError) or not isinstance(failure, ResponseError):
                self._topology.doubt()
            raise
