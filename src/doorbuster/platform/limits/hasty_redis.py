"""Redis for decisions that cannot wait: asked in batches, with a short time limit, and left alone when it has failed.

Whoever asks while a round trip is under way goes with the next one, so that a crowd costs a few round trips. The limit
is on a round trip, not on the queue before it: a crowd is no sign that Redis is slow.

A Redis that stood still goes on with what was sent to it meanwhile, long after everybody got their answer elsewhere. So
each script is told by which time of the server it has to run, and does nothing when it comes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.limits.local import monotonic_us
from doorbuster.platform.limits.pause import Pause
from doorbuster.platform.redis import Call, Redis
from doorbuster.platform.sql.group_commit import GroupCommit

LIMIT_S = 0.05
BATCH_MAX, WAITING_MAX = 128, 4096
"""Of one server."""
PLACES_MAX = 1_000
"""Servers that were met. Nodes that have left a cluster stay in it: they are few."""

log = structlog.get_logger("limits")


class HastyRedis:
    """To be shared by all limiters of a process: what one of them finds out about Redis, all know.

    Of a cluster each server is left alone for itself, and has its own round trips and its own clock.
    """

    def __init__(self, redis: Redis, *, limit_s: float = LIMIT_S, pause: Callable[[], Pause] = Pause) -> None:
        self._redis, self._limit_s, self._pause = redis, limit_s, pause
        self._places: dict[str, _Place] = {}

    @property
    def away(self) -> bool:
        """Any server of it."""
        return any(place.pause.away for place in self._places.values())

    async def run(self, call: Call) -> Any:
        """The script's answer: numbers.

        The script gets one more word, the server's time after which it must do nothing (0: any time will do), and
        answers with the server's time before everything else; with that alone when it came too late. Times are
        microseconds. Raises Unavailable (at once while Redis is left alone), Overloaded.
        """
        name = self._redis.place_of(call.key)
        place = self._places.get(name)
        if place is None:
            if len(self._places) >= PLACES_MAX:
                raise Overloaded
            place = self._places[name] = _Place(name, self._redis, self._limit_s, self._pause())
        return await place.run(call)

    async def close(self) -> None:
        """The Redis itself stays open: it is whose it was."""
        for place in self._places.values():
            await place.close()


class _Place:
    """One server."""

    def __init__(self, name: str, redis: Redis, limit_s: float, pause: Pause) -> None:
        self._name, self._redis, self._limit_s, self.pause = name, redis, limit_s, pause
        self._ahead_us: int | None = None
        """How far the server's clock is ahead of ours."""
        self._late: set[asyncio.Future[Any]] = set()
        self._batches: GroupCommit[Call, Any] = GroupCommit(self._ask, max_batch=BATCH_MAX, max_waiting=WAITING_MAX)

    async def run(self, call: Call) -> Any:
        was_away = self.pause.away
        if not self.pause.may_ask():
            raise Unavailable("Redis is left alone after it has failed")
        try:
            return await self._batches.submit(call)
        finally:
            if was_away:
                self.pause.left()

    async def _ask(self, calls: Sequence[Call]) -> Sequence[Any]:
        if self.pause.resting():
            raise Unavailable("Redis is left alone after it has failed")
        sent_us, ahead_us = monotonic_us(), self._ahead_us
        latest_us = 0 if ahead_us is None else sent_us + ahead_us + round(self._limit_s * 1_000_000)
        dated = [Call(each.source, each.key, (*each.words, latest_us)) for each in calls]
        asking = asyncio.ensure_future(self._redis.run_all(dated))
        try:
            if not await self._in_time(asking):
                raise Unavailable(f"Redis did not answer within {self._limit_s} s")
            answers = asking.result()
            failures = [answer for answer in answers if isinstance(answer, Unavailable)]
            if failures:
                self._failed(failures[0])
            elif self.pause.worked():
                log.info("Redis is back", server=self._name)
        except Unavailable as failure:
            self._failed(failure)
            raise
        finally:
            self._give_up(asking)
        return [self._without_time(answer, sent_us) for answer in answers]

    def _without_time(self, answer: Any, sent_us: int) -> Any:
        if isinstance(answer, Unavailable):
            return answer
        time_us, *numbers = answer
        # Too high by the way there, which is within the limit: so nobody who is in time is taken for late.
        self._ahead_us = time_us - sent_us
        return numbers or Unavailable("Redis came to it too late")

    async def _in_time(self, asking: asyncio.Future[Any]) -> bool:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        done, _ = await asyncio.wait({asking}, timeout=self._limit_s)
        if not done and loop.time() - began_s > 2 * self._limit_s:
            # It was this process that was late; Redis may have answered long ago.
            done, _ = await asyncio.wait({asking}, timeout=self._limit_s)
        return bool(done)

    def _give_up(self, asking: asyncio.Future[Any]) -> None:
        if asking.done():
            return
        asking.cancel()  # the client throws the connection away: the answer would be taken for the next one's
        self._late.add(asking)
        asking.add_done_callback(self._late.discard)

    def _failed(self, failure: Unavailable) -> None:
        if self.pause.failed():
            log.warning("limits do without Redis", server=self._name, error=repr(failure.__cause__ or failure))

    async def close(self) -> None:
        await self._batches.close()
        if self._late:
            await asyncio.wait(self._late, timeout=1.0)
