"""Load without a pause: each connection sends the next claim as soon as the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from doorbuster.lab.stampede.connection import Exchange, RawHeaders
from doorbuster.lab.stampede.errors import Failure
from doorbuster.lab.stampede.lanes import LaneLimits, Lanes
from doorbuster.lab.stampede.latency import Latency
from doorbuster.lab.stampede.target import parse_target
from doorbuster.lab.stampede.wire import ClaimWriter

CONNECTIONS = 64
WARM_UP_S = 0.5
TIMEOUT_S = 10.0


class Window(Struct, frozen=True):
    """What was answered 201 within the measured window, and `claims_in_all` with warm-up and end."""

    claims: int
    seconds: float
    p50_ms: float
    p99_ms: float
    claims_in_all: int
    others: dict[str, int]
    """Answers that were not 201, by status, and requests without one, by reason. A good run has none."""


async def claim_for(
    seconds: float,
    base_url: str,
    sale_id: str,
    tokens: Sequence[str],
    mark: Callable[[], Awaitable[None]],
) -> Window:
    """Claims in the sale on CONNECTIONS connections; `mark` is awaited where the window begins and ends."""
    target = parse_target(base_url)
    async with Lanes(target, LaneLimits(CONNECTIONS, CONNECTIONS, timeout_s=TIMEOUT_S)) as lanes:
        await lanes.warm(CONNECTIONS)
        load = _Load(lanes, ClaimWriter(target, sale_id, 1), tokens)
        load.start()
        await asyncio.sleep(WARM_UP_S)
        await mark()
        begun_s = load.begin_window()
        await asyncio.sleep(seconds)
        await mark()
        claims, window_s = load.claims, time.monotonic() - begun_s
        p50_ms, p99_ms = load.latency.percentiles_ms(50.0, 99.0)
        await load.stop()
    return Window(claims, window_s, p50_ms, p99_ms, load.claims_in_all, dict(load.others))


class _Load:
    def __init__(self, lanes: Lanes, writer: ClaimWriter, tokens: Sequence[str]) -> None:
        self.writer = writer
        self.latency = Latency()
        self.claims = 0
        self.claims_in_all = 0
        self.others: Counter[str] = Counter()
        self._lanes = lanes
        self._tokens = tokens
        self._sent = 0
        self._in_flight = 0
        self._stopping = False
        self._idle = asyncio.Event()

    def start(self) -> None:
        for _ in range(CONNECTIONS):
            self._send()

    def begin_window(self) -> float:
        self.claims = 0
        self.latency = Latency()
        return time.monotonic()

    async def stop(self) -> None:
        """Sends nothing more, and waits for what is under way."""
        self._stopping = True
        if self._in_flight:
            await self._idle.wait()

    def _send(self) -> None:
        token = self._tokens[self._sent % len(self._tokens)]
        self._sent += 1
        self._in_flight += 1
        self._lanes.submit(_ClaimOnce(self, token, f"{self._sent:x}"))

    def claimed(self, latency_s: float) -> None:
        self.claims += 1
        self.claims_in_all += 1
        self.latency.record(latency_s)

    def answered(self) -> None:
        """Goes on with the next claim."""
        self._in_flight -= 1
        if not self._stopping:
            self._send()
        elif not self._in_flight:
            self._idle.set()


class _ClaimOnce(Exchange):
    __slots__ = ("_key", "_load", "_token")

    def __init__(self, load: _Load, token: str, key: str) -> None:
        super().__init__(time.monotonic())
        self._load, self._token, self._key = load, token, key

    def payload(self) -> bytes:
        return self._load.writer.request(self._token, self._key)

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:  # noqa: ARG002 - the signature is Exchange's
        if status == 201:
            self._load.claimed(time.monotonic() - self.sent_at)
        else:
            self._load.others[str(status)] += 1
        self._load.answered()

    def on_failure(self, failure: Failure) -> None:
        self._load.others[failure.value] += 1
        asyncio.get_running_loop().call_later(0.01, self._load.answered)  # a dead server is not hammered
