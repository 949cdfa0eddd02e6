"""A provider's read that takes longer than nearly all before it is asked a second time; what moves money never is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from doorbuster.contexts.payments.asking import Asker
from doorbuster.contexts.payments.resilience import PROVIDERS
from doorbuster.platform.breaker.breaker import monotonic_ms
from doorbuster.platform.neighbour import Neighbour
from doorbuster.platform.retry import HedgeSettings

QUICK = 20


class Provider:
    """Answers at once; the first request to /slow waits for `let_go`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.let_go = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                line = head.partition(" HTTP")[0]
                self.asked[line] += 1
                if line.endswith("/slow") and self.asked[line] == 1:
                    await self.let_go.wait()
                body = str(self.asked[line]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def asked_at(provider: Provider, *, hedged: bool) -> AsyncIterator[Asker]:
    settings = replace(PROVIDERS.default, hedge=HedgeSettings(enabled=hedged, samples_min=QUICK, after_ms_max=50))
    neighbour = Neighbour("payments", "", lambda: settings, monotonic_ms, random.random)
    server = await asyncio.start_server(provider.answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        asker = Asker(url, 30.0, 0.01, neighbour=neighbour)
        for _ in range(QUICK):
            await asker.ask("GET", "/quick", "")
        try:
            yield asker
        finally:
            provider.let_go.set()
            await asker.close()


async def test_a_slow_read_is_asked_a_second_time_and_the_first_answer_counts() -> None:
    provider = Provider()
    async with asked_at(provider, hedged=True) as asker:
        assert await asker.ask("GET", "/slow", "") == (200, b"2")
    assert provider.asked["GET /slow"] == 2


@pytest.mark.parametrize(("method", "hedged"), [("POST", True), ("GET", False)])
async def test_what_moves_money_is_asked_once_and_so_is_all_where_nobody_asked_for_hedges(
    method: str, hedged: bool
) -> None:
    provider = Provider()
    async with asked_at(provider, hedged=hedged) as asker:
        asking = asyncio.create_task(asker.ask(method, "/slow", ""))
        while not provider.asked[f"{method} /slow"]:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)  # four times as long as a hedge would wait
        provider.let_go.set()
        assert await asking == (200, b"1")
    assert provider.asked[f"{method} /slow"] == 1
