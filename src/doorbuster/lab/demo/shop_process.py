"""The shop as its users see it: a server process, and commands on its data folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 120.0


class ShopFailed(Exception):
    """The server or a command ended badly; carries what it said last."""


@dataclass(frozen=True)
class ShopProcess:
    """A running `doorbuster serve`."""

    base_url: str
    folder: Path
    simulator_url: str
    process: asyncio.subprocess.Process
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    async def command(self, *words: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Runs `doorbuster <words> --json` on the shop's data folder and returns its answer, also a negative one.

        Raises ShopFailed if there is no answer.
        """
        child = await asyncio.create_subprocess_exec(
            *_doorbuster(*words, "--data", str(self.folder), "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "DOORBUSTER_PROCESS_LOG_JSON": "true", **self.environment, **(environment or {})},
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            output, errors = await child.communicate()
        try:
            return msgspec.json.decode(output.splitlines()[-1], type=dict[str, Any])
        except (IndexError, msgspec.DecodeError) as error:
            raise ShopFailed(f"doorbuster {' '.join(words)}: {errors.decode(errors='replace')[-2000:]}") from error


@asynccontextmanager
async def shop_process(
    folder: Path, simulator_url: str, log: Path, port: int = 0, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[ShopProcess]:
    """Starts a server on `folder`, its log in `log`; stops it in the end. `environment` is that of its commands too.

    Raises ShopFailed.
    """
    chosen = port or free_port()
    with log.open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            *_doorbuster("serve", "--data", str(folder), "--port", str(chosen), "--json"),
            *(["--simulator", simulator_url] if simulator_url else []),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log_file,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C is for whoever started us; we stop the server in order
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = await process.stdout.readline()
        if not line:
            raise ShopFailed(f"the server did not start: {_end_of(log)}")
        base_url = msgspec.json.decode(line, type=dict[str, str])["base_url"]
        yield ShopProcess(base_url, folder, simulator_url, process, environment or {})
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ends a child in order, by force if it takes too long."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _doorbuster(*words: str) -> list[str]:
    return [sys.executable, "-m", "doorbuster", *words]


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
