"""The strategies that need only the database."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.inventory.deduction.port import RACES_MAX, Writer, in_time, only, pause
from doorbuster.contexts.inventory.model import Shelf
from doorbuster.contexts.inventory.posting import Guard, Stale
from doorbuster.contracts.inventory import Hold, HoldRequest
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Overloaded, ShopError
from doorbuster.platform.sql.group_commit import GroupCommit


class Pessimistic:
    """A transaction per request, behind row locks."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def hold(self, request: HoldRequest, deadline: Deadline | None = None) -> Hold:
        in_time(deadline)
        return only(await self._writer.write_through_races([request]))

    async def close(self) -> None:
        return


class Optimistic:
    """No lock: the write succeeds only on the versions that were read. A lost race reads anew."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def hold(self, request: HoldRequest, deadline: Deadline | None = None) -> Hold:
        for attempt in range(RACES_MAX):
            in_time(deadline)
            try:
                return only(await self._writer.write([request], lock=False, guard=_version))
            except Stale:
                await pause(attempt)
        raise Overloaded("too many want the same stock")

    async def close(self) -> None:
        return


def _version(shelf: Shelf) -> Guard:
    return Guard(version=shelf.version)


class Grouped:
    """Whoever comes while a commit is running shares the next one."""

    def __init__(self, writer: Writer, batch_max: int, waiting_max: int) -> None:
        self._writer = writer
        self._commits: GroupCommit[HoldRequest, Hold] = GroupCommit(
            self._commit, max_batch=batch_max, max_waiting=waiting_max
        )

    async def hold(self, request: HoldRequest, deadline: Deadline | None = None) -> Hold:
        return await self._commits.submit(request, deadline)

    async def _commit(self, requests: Sequence[HoldRequest]) -> Sequence[Hold | ShopError]:
        return (await self._writer.write_through_races(list(requests))).outcomes

    async def close(self) -> None:
        await self._commits.close()
