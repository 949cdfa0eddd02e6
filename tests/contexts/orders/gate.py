"""Many at once: races as specifications need everybody at the same start line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def all_at_once(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T | Exception]:
    """The calls behind a gate that opens for all; outcomes in order, refusals included."""
    gate = asyncio.Event()

    async def one(call: Callable[[], Awaitable[T]]) -> T | Exception:
        await gate.wait()
        try:
            return await call()
        except Exception as error:  # noqa: BLE001 - the refusals are what the test looks at
            return error

    tasks = [asyncio.create_task(one(call)) for call in calls]
    await asyncio.sleep(0)
    gate.set()
    return await asyncio.gather(*tasks)


def of_type(outcomes: Sequence[object], kind: type[T]) -> list[T]:
    return [outcome for outcome in outcomes if isinstance(outcome, kind)]
