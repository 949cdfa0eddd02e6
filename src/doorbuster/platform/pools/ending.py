"""How tasks end together, so that none is left and every failure is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from typing import Any


class GaveUp(Exception):
    """Work ended by a CancelledError that was not ours. Taken for a quiet end, its item would be missing without a
    word."""


async def one_fate(parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs the parts as tasks until all have ended. The first failure cancels the others and is raised as it is; what
    else failed in the same moment is a note of it.

    Whoever is cancelled while parts fail is cancelled: see docs/decisions/0025-pools.md for why this is no TaskGroup.
    """
    stopping = False

    async def whole(part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except asyncio.CancelledError as gone:
            if stopping:
                raise
            raise GaveUp("cancelled from within, or by a stranger") from gone

    taken: list[Coroutine[Any, Any, None]] = []
    tasks: list[asyncio.Task[None]] = []
    failed: list[BaseException] = []
    try:
        for part in parts:
            taken.append(part)
            tasks.append(asyncio.create_task(whole(part)))
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = [error for task in tasks if task.done() and (error := task.exception()) is not None]
    finally:
        stopping = True
        for task in tasks:
            task.cancel()
        try:
            await ended(tasks)
        finally:
            for part in taken:
                part.close()  # one whose task never took a step
    if failed:
        first, *others = failed
        for other in others[:9]:
            first.add_note(f"failed in the same moment: {other!r}")
        raise first


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Returns when none of the tasks is left, also if whoever waits is cancelled meanwhile; that is raised then."""
    interrupted: asyncio.CancelledError | None = None
    while left := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError as cancelled:
            interrupted = cancelled
    if interrupted is not None:
        raise interrupted
