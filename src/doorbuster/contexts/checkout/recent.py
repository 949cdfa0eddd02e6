"""What neighbours and rarely changed rows said a moment ago: asked for in batches, believed for a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from doorbuster.kernel.clock import Clock
from doorbuster.platform.sql.group_commit import GroupCommit

V = TypeVar("V")

BELIEVED_MS = 1_000
ENTRIES_MAX = 20_000
ASKED_AT_ONCE = 500


class Recent(Generic[V]):
    """At most ENTRIES_MAX values by id, none older than BELIEVED_MS. Ids that nobody knows are not remembered."""

    def __init__(self, load: Callable[[Sequence[int]], Awaitable[Mapping[int, V]]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._entries: dict[int, tuple[int, V]] = {}
        self._asking: GroupCommit[int, V | None] = GroupCommit(self._ask, max_batch=ASKED_AT_ONCE)

    async def get(self, ids: Iterable[int]) -> dict[int, V]:
        """Those that exist. Raises Overloaded and what `load` raises."""
        since_ms = self._clock.now_ms() - BELIEVED_MS
        found: dict[int, V] = {}
        missing: list[int] = []
        for each in ids:
            entry = self._entries.get(each)
            if entry is not None and entry[0] > since_ms:
                found[each] = entry[1]
            else:
                missing.append(each)
        if missing:
            told = await asyncio.gather(*map(self._asking.submit, missing))
            found.update((each, value) for each, value in zip(missing, told, strict=True) if value is not None)
        return found

    def forget(self, of_id: int) -> None:
        self._entries.pop(of_id, None)

    async def _ask(self, ids: Sequence[int]) -> Sequence[V | None]:
        asked_ms = self._clock.now_ms()
        loaded = await self._load(sorted(set(ids)))
        for each, value in loaded.items():
            self._entries.pop(each, None)  # so that the oldest stay first
            self._entries[each] = (asked_ms, value)
        while len(self._entries) > ENTRIES_MAX:
            del self._entries[next(iter(self._entries))]
        return [loaded.get(each) for each in ids]

    async def close(self) -> None:
        await self._asking.close()
