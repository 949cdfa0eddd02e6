"""A bench server as a child process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from doorbuster.lab.bench.messages import AskUsage, Listening, NewSale, OpenSale, Question, ServerPlan, Usage
from doorbuster.lab.demo.shop_process import ShopFailed

MODULE = "doorbuster.apps.bench_server"
ANSWER_TIMEOUT_S = 30.0

T = TypeVar("T")


class ServerProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.base_url = ""

    async def new_sale(self) -> str:
        """The id of a fresh sale."""
        return (await self._ask(NewSale(), OpenSale)).sale_id

    async def cpu_s(self) -> float:
        """Processor time of the server so far."""
        return (await self._ask(AskUsage(), Usage)).cpu_s

    async def begin(self, plan: ServerPlan) -> None:
        self.base_url = (await self._ask(plan, Listening)).base_url

    async def _ask(self, question: Question | ServerPlan, kind: type[T]) -> T:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(question) + b"\n")
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            line = await self._process.stdout.readline()
        if not line:
            raise ShopFailed(f"the server of the bench ended with status {await self._process.wait()}")
        return msgspec.json.decode(line, type=kind)


@asynccontextmanager
async def bench_server(plan: ServerPlan) -> AsyncGenerator[ServerProcess]:
    """A running server, stopped in the end. Raises ShopFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        MODULE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        server = ServerProcess(process)
        await server.begin(plan)
        yield server
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the server ends when its input does
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
