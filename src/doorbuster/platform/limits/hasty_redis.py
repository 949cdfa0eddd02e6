"""Redis for decisions that cannot wait: asked in batches, with a short time limit, and left alone when it has failed.

Whoever asks while a round trip is under way goes with the next one, so that a crowd costs a few round trips. The limit
is on a round trip, not on the queue before it: a crowd is no sign that Redis is slow.

A Redis that stood still goes on with what was sent to it meanwhile, long after everybody got their answer elsewhere. So
each script is told by which time of the server it has to run, and does nothing when it comes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.limits.local import monotonic_us
from doorbuster.platform.limits.pause import Pause
from doorbuster.platform.redis import Call, Redis
from doorbuster.platform.sql.group_commit import GroupCommit

LIMIT_S = 0.05
BATCH_MAX, WAITING_MAX = 128, 4096

log = structlog.get_logger("limits")


class HastyRedis:
    """To be shared by all limiters of a process: what one of them finds out about Redis, all know."""

    def __init__(self, redis: Redis, *, limit_s: float = LIMIT_S, pause: Pause | None = None) -> None:
        self._redis, self._limit_s, self._pause = redis, limit_s, pause or Pause()
        self._ahead_us: int | None = None
        """How far the server's clock is ahead of ours."""
        self._late: set[asyncio.Future[Any]] = set()
        self._batches: GroupCommit[Call, Any] = GroupCommit(self._ask, max_batch=BATCH_MAX, max_waiting=WAITING_MAX)

    @property
    def away(self) -> bool:
        return self._pause.away

    async def run(self, call: Call) -> Any:
        """The script's answer: numbers.

        The script gets one more word, the server's time after which it must do nothing (0: any time will do), and
        answers with the server's time before everything else; with that alone when it came too late. Times are
        microseconds. Raises Unavailable (at once while Redis is left alone), Overloaded.
        """
        was_away = self._pause.away
        if not self._pause.may_ask():
            raise Unavailable("Redis is left alone after it has failed")
        try:
            return await self._batches.submit(call)
        finally:
            if was_away:
                self._pause.left()

    async def _ask(self, calls: Sequence[Call]) -> Sequence[Any]:
        if self._pause.resting():
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
            elif self._pause.worked():
                log.info("Redis is back")
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
        if self._pause.failed():
            log.warning("limits do without Redis", error=repr(failure.__cause__ or failure))

    async def close(self) -> None:
        """The Redis itself stays open: it is whose it was."""
        await self._batches.close()
        if self._late:
            await asyncio.wait(self._late, timeout=1.0)
