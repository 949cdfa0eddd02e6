"""The back room as a second process: exec'd, never forked, gone when its parent's pipe closes.

Wake-ups travel both ways as lines with the name of the outbox. They are hints: when a pipe is full they are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import msgspec
import structlog

from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.settings.tree import Settings

RESTART_PAUSE_S, RESTART_PAUSE_MAX_S = 0.5, 10.0
STOP_TIMEOUT_S = 15.0
PIPE_BYTES_MAX = 4096

log = structlog.get_logger("back-room")


class BackRoomProcess:
    """Starts the back room, restarts it when it dies, and stops it in the end."""

    def __init__(self, settings: Settings, wakeups: Wakeups) -> None:
        self._settings = settings
        self._wakeups = wakeups
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def __aenter__(self) -> BackRoomProcess:
        self._wakeups.forward_to(self.wake)
        self._keeping = asyncio.create_task(self._keep(), name="back-room")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._keeping is not None
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping
        await self._stop()

    def wake(self, source: str) -> None:
        """Passes a wake-up on, unless the pipe is full of them."""
        stdin = self._process.stdin if self._process is not None else None
        if stdin is not None and not stdin.is_closing() and stdin.transport.get_write_buffer_size() < PIPE_BYTES_MAX:
            stdin.write(f"{source}\n".encode())

    async def _keep(self) -> None:
        pause_s = RESTART_PAUSE_S
        while True:
            started_s = asyncio.get_running_loop().time()
            status = await self._run()
            if asyncio.get_running_loop().time() - started_s > RESTART_PAUSE_MAX_S:
                pause_s = RESTART_PAUSE_S
            log.error("back room died; restarting", status=status, pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_PAUSE_MAX_S)

    async def _run(self) -> int | str:
        """From its start to its end. Returns its exit status, or why it could not be started."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "doorbuster.apps.back_room",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # Settings may hold secrets: they go by the environment, which others cannot read, not by arguments.
                env={**os.environ, "DOORBUSTER_RESOLVED": msgspec.json.encode(self._settings).decode()},
            )
        except OSError as error:  # no memory or no file descriptor just now
            return str(error)
        await self._listen(self._process)
        return await self._process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._wakeups.wake(line.decode().strip(), pass_on=False)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()  # the back room ends when its parent's pipe does
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            log.warning("back room did not stop in time; killed")
            process.kill()
            await process.wait()
