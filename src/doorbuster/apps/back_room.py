"""The back room's own process: consumers and deadlines, until the parent's pipe closes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import msgspec
import structlog

from doorbuster.apps.rooms import run_rooms
from doorbuster.apps.shop import open_shop
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.telemetry.log_level import follow_log_level
from doorbuster.platform.telemetry.logs import configure_logs

NICENESS = 5
"""Where processors are short, shoppers at the door go before what can be caught up with."""

log = structlog.get_logger("back-room")


async def work(settings: Settings) -> None:
    """Works until standard input ends. Wake-ups are read from it, and told on standard output."""
    wakeups = Wakeups()
    wakeups.forward_to(_tell_parent)
    os.set_blocking(sys.stdout.fileno(), False)
    async with open_shop(settings, wakeups) as shop:
        follow_log_level(shop.platform.runtime, settings.process.log_level)
        working = asyncio.create_task(run_rooms(shop, ("back",)), name="rooms")
        listening = asyncio.create_task(_listen(wakeups), name="parent")
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working  # raises what ended it
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def _tell_parent(source: str) -> None:
    with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full of hints already, or about to end
        os.write(sys.stdout.fileno(), f"{source}\n".encode())


async def _listen(wakeups: Wakeups) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), sys.stdin)
    while line := await reader.readline():
        wakeups.wake(line.decode().strip(), pass_on=False)


def main() -> None:
    import uvloop

    # Ctrl-C and a service manager's SIGTERM reach both processes; the parent decides when it is over.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    settings = msgspec.json.decode(os.environ.pop("DOORBUSTER_RESOLVED"), type=Settings)
    configure_logs(settings.process.log_level, "back-room", settings.process.log_json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(settings))


if __name__ == "__main__":
    main()
