"""Two servers on one database, two clients, one conversation, connections that break: nothing lost or doubled."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from contexts.support.chat_client import ChatClient
from contexts.support.chat_server import Plan
from contexts.support.support_shop import ANN, EVA, SupportShop
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import DatabaseSettings

TESTS = Path(__file__).parents[2]
EACH_SAYS, CUTS = 40, 6


class ChatProcess:
    """A server in a process of its own, which can be killed and started again."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("chat_server.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(self.plan) + b"\n")
        async with asyncio.timeout(30):
            self.port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        """SIGKILL: whatever was not committed is gone."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
        async with asyncio.timeout(30):
            return await self._process.wait()


@pytest.fixture
def key() -> Key:
    return Key.generate()


@pytest.fixture
async def processes(
    shop: SupportShop, database_settings: DatabaseSettings, tmp_path: Path, key: Key
) -> AsyncIterator[list[ChatProcess]]:
    """Two, on the database of `shop`."""
    both = [ChatProcess(Plan(database_settings, str(tmp_path), key.render(), worker)) for worker in (11, 12)]
    await asyncio.gather(*(each.start() for each in both))
    yield both
    await asyncio.gather(*(each.stop() for each in both))


def clients(shop: SupportShop, key: Key, conversation: int, processes: list[ChatProcess]) -> list[ChatClient]:
    """The customer begins at the one server, the agent at the other; each connection goes to the next server."""
    ring = KeyRing([key], SystemClock())

    def client(who: Principal, at: int) -> ChatClient:
        ports = [*processes[at:], *processes[:at]] * 1000
        return ChatClient(
            conversation, ring.sign(who, 600), lambda: f"ws://127.0.0.1:{ports.pop(0).port}/v1/support/live"
        )

    return [client(ANN, 0), client(EVA, 1)]


async def settle(shop: SupportShop, conversation: int, both: list[ChatClient]) -> None:
    """Everybody has seen everything: the rows, in their order, each once; and what was acknowledged is there."""
    wanted = 1 + 2 * EACH_SAYS
    for each in both:
        await each.until(lambda each=each: len(each.seen) >= wanted and not each.unacknowledged)
    rows = await shop.texts(conversation)
    assert [number for number, _, _ in rows] == list(range(1, wanted + 1))
    assert len({text for _, _, text in rows}) == wanted
    for each in both:
        assert each.seen == [(number, text) for number, _, text in rows]
        numbers = {text: number for number, _, text in rows}
        assert all(numbers[client_id] == number for client_id, number in each.acknowledged.items())
        assert len(each.acknowledged) == EACH_SAYS
    assert await shop.broken() == []


async def test_connections_that_break_in_the_middle(shop: SupportShop, processes: list[ChatProcess], key: Key):
    conversation = await shop.open_with(ANN, EVA)
    both = clients(shop, key, conversation, processes)
    dice = random.Random(4711)

    async def talk(client: ChatClient, name: str) -> None:
        cuts = dice.sample(range(EACH_SAYS), CUTS)
        for n in range(EACH_SAYS):
            if n in cuts:
                await client.until(lambda: client.socket is not None)
            await client.say(f"{name}{n}")
            if n in cuts:
                client.cut()
            await asyncio.sleep(dice.random() * 0.01)

    running = [asyncio.create_task(each.run()) for each in both]
    await asyncio.gather(talk(both[0], "ann"), talk(both[1], "eva"))
    await settle(shop, conversation, both)
    for task in running:
        task.cancel()
    assert all(each.connections >= CUTS for each in both)


async def test_a_server_is_killed_and_comes_back(shop: SupportShop, processes: list[ChatProcess], key: Key):
    conversation = await shop.open_with(ANN, EVA)
    both = clients(shop, key, conversation, processes)
    running = [asyncio.create_task(each.run()) for each in both]

    async def talk(client: ChatClient, name: str) -> None:
        for n in range(EACH_SAYS):
            await client.say(f"{name}{n}")
            await client.until(lambda: client.socket is None or len(client.unacknowledged) < 5)

    talking = asyncio.gather(talk(both[0], "ann"), talk(both[1], "eva"))
    await both[0].until(lambda: len(both[0].acknowledged) >= 5)
    await processes[0].kill()
    await both[0].until(lambda: len(both[0].acknowledged) >= 12)
    await processes[0].start()
    await talking
    await settle(shop, conversation, both)
    for task in running:
        task.cancel()
