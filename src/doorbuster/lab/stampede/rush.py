"""The load itself: clicks are sent when they are due, whatever became of the ones before."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence

from .buyers import Buyer
from .connection import Exchange, RawHeaders
from .errors import BadPlanError, Failure
from .lanes import LaneLimits, Lanes
from .ledger import Ledger
from .plan import Plan
from .schedule import Click, clicks
from .tally import Progress, Rush, Tally
from .target import parse_target
from .wire import ClaimWriter, Outcome, classify

OnProgress = Callable[[Progress], None]

PROGRESS_EVERY_S = 0.25
BURST_MAX = 64  # clicks sent in a row before replies are looked at, when the pacer is behind
NAP_S = 0.001  # timers of both event loops tick in ms; a shorter nap would spin
REPLY_BYTES_MAX = 256 * 1024


async def rush(
    plan: Plan,
    buyers: Sequence[Buyer],
    ledger: Ledger,
    on_progress: OnProgress | None = None,
    *,
    run_id: str | None = None,
) -> Rush:
    """Sends every click of the plan and books the answers in the ledger.

    Ends when each click has its outcome: at the latest `2 * plan.timeout_s` after the last one was due.
    `run_id` starts every key, so that a repeated run does not replay the claims of an earlier one;
    visible ASCII, drawn at random if not given. Raises `UnreachableError` if no connection can be opened.
    """
    if not buyers:
        raise BadPlanError("arrivals", "there is no buyer")
    limits = LaneLimits(
        connections=plan.connections,
        waiting=plan.waiting,
        timeout_s=plan.timeout_s,
        wait_s=plan.timeout_s,
        reply_bytes_max=REPLY_BYTES_MAX,
    )
    schedule = clicks(plan, buyers, run_id or secrets.token_hex(4))
    async with Lanes(parse_target(plan.base_url), limits) as lanes:
        await lanes.warm(min(plan.connections, 2 * plan.arrivals_of(len(buyers))))
        load = _Load(plan, ledger, lanes)
        with _quiet_collector():
            cpu_s = time.process_time()
            await load.run(schedule, on_progress)
            cpu_s = time.process_time() - cpu_s
    return load.tally.rush(load.duration_s, cpu_s)


@contextlib.contextmanager
def _quiet_collector() -> Generator[None]:
    """Keeps the garbage collector off what existed before: a full collection stopped the clock for 15 ms."""
    ours = gc.get_freeze_count() == 0  # else the caller froze it, and stays in charge
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()


class _Load:
    """One run under way."""

    def __init__(self, plan: Plan, ledger: Ledger, lanes: Lanes) -> None:
        self.writer = ClaimWriter(parse_target(plan.base_url), plan.sale_id, plan.quantity)
        self.tally = Tally()
        self._ledger, self._lanes = ledger, lanes
        self._grace_s = 2 * plan.timeout_s + 1.0
        self._first_clicks: dict[str, _Attempt] = {}  # those whose double is still to come
        self._all_sent = False
        self._done = asyncio.Event()
        self._started_at = self._last_at = time.monotonic()

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the last outcome so far."""
        return self._last_at - self._started_at

    async def run(self, schedule: Iterator[Click], on_progress: OnProgress | None) -> None:
        """Sends everything and waits for the outcomes, as long as they can possibly take."""
        self._started_at = self._last_at = time.monotonic()
        async with asyncio.TaskGroup() as group:
            viewer = group.create_task(self._view(on_progress)) if on_progress else None
            await self._pace(schedule)
            self._all_sent = True
            if self.tally.finished < self.tally.arrived:
                with contextlib.suppress(TimeoutError):  # closing the lanes ends what is left as lost
                    async with asyncio.timeout(self._grace_s):
                        await self._done.wait()
            if viewer:
                viewer.cancel()
        if on_progress:
            on_progress(self._snapshot(self.duration_s, 0.0))

    async def _pace(self, schedule: Iterator[Click]) -> None:
        burst = 0
        for click in schedule:
            due_at = self._started_at + click.due_s
            now = time.monotonic()
            if now < due_at:
                while now < due_at:
                    await asyncio.sleep(max(NAP_S, due_at - now))
                    now = time.monotonic()
                burst = 0
                self.tally.pacing_lag.record(now - due_at)
            elif (burst := burst + 1) >= BURST_MAX:
                burst = 0
                await asyncio.sleep(0)
                self.tally.pacing_lag.record(time.monotonic() - due_at)
            self._send(click, due_at)

    def _send(self, click: Click, due_at: float) -> None:
        self.tally.arrived += 1
        attempt = _Attempt(self, click.buyer, click.key, due_at)
        avoid = None
        if click.kind == "first-of-two":
            self._first_clicks[click.key] = attempt
        elif click.kind == "double":
            avoid = self._first_clicks.pop(click.key).connection
        self._lanes.submit(attempt, avoid)

    async def _view(self, on_progress: OnProgress) -> None:
        seen, at = 0, self._started_at
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            now, answered = time.monotonic(), self.tally.answered
            on_progress(self._snapshot(now - self._started_at, (answered - seen) / (now - at)))
            seen, at = answered, now

    def _snapshot(self, elapsed_s: float, per_s: float) -> Progress:
        return self.tally.progress(elapsed_s, self._lanes.in_flight, self._lanes.queued, per_s)

    def finish(self, attempt: _Attempt, outcome: Outcome, now: float) -> None:
        """Books the one outcome of an attempt."""
        buyer, key = attempt.buyer, attempt.key
        if outcome.kind == "claimed":
            entry = self._ledger.acknowledged(buyer, key, outcome.order_id, outcome.quantity)
            self.tally.count_ack(entry)
        else:
            self.tally.count_other(outcome)
            if outcome.kind == "unknown":
                self._ledger.doubted(buyer, key, outcome.reason)
            elif outcome.reason == "sold-out":
                self._ledger.sold_out_for(buyer)
        self._last_at = now
        self.tally.finished += 1
        if self._all_sent and self.tally.finished == self.tally.arrived:
            self._done.set()


class _Attempt(Exchange):
    """One click on its way."""

    __slots__ = ("_load", "buyer", "key")

    def __init__(self, load: _Load, buyer: Buyer, key: str, due_at: float) -> None:
        super().__init__(due_at)
        self._load, self.buyer, self.key = load, buyer, key

    def payload(self) -> bytes:
        self._load.tally.sent += 1
        return self._load.writer.request(self.buyer.token, self.key)

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:  # noqa: ARG002 - the signature is Exchange's
        now, tally = time.monotonic(), self._load.tally
        tally.answered += 1
        tally.latency.record(now - self.due_at)
        self._load.finish(self, classify(status, body), now)

    def on_failure(self, failure: Failure) -> None:
        now = time.monotonic()
        if failure is not Failure.QUEUE_FULL:  # that one never waited
            self._load.tally.latency.record(now - self.due_at)
        self._load.finish(self, Outcome("unknown" if failure.sent else "error", failure.value), now)
