"""Group commit under any schedule: arrivals, departures and every way a commit can end, in any order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Busy, Conflict, OutcomeUnknown, Overloaded, Unavailable
from doorbuster.platform.sql.group_commit import GroupCommit, WrongCount

MAX_BATCH, MAX_WAITING = 3, 5

SUBMIT, SUBMIT_LATE, LEAVE, STEP, KILL = "submit", "submit late", "leave", "step", "kill the committer"
ARRIVALS = (SUBMIT,) * 6
ENDINGS = ("all done", "some refused", "unavailable", "outcome unknown", "one is bad", "wrong count")

steps = st.lists(
    st.tuples(st.sampled_from([*ARRIVALS, SUBMIT_LATE, LEAVE, STEP, KILL, *ENDINGS]), st.integers(0, 99)),
    min_size=10,
    max_size=80,
)


class World:
    """Every request is a number, in order of arrival. Those divisible by 5 are bad when the ending says so."""

    def __init__(self) -> None:
        self.group: GroupCommit[int, str] = GroupCommit(self.commit, max_batch=MAX_BATCH, max_waiting=MAX_WAITING)
        self.batches: list[tuple[int, ...]] = []
        self.committed: set[int] = set()
        self.late: set[int] = set()
        self.left_before: set[int] = set()
        self.callers: list[asyncio.Task[str]] = []
        self.rules_kept = True
        self._ending: asyncio.Future[str] | None = None
        self._always: str | None = None

    async def commit(self, batch: Sequence[int]) -> Sequence[Any]:
        self.rules_kept &= 1 <= len(batch) <= MAX_BATCH and self._ending is None  # one commit at a time
        self.batches.append(tuple(batch))
        self._ending = asyncio.get_running_loop().create_future()
        try:
            ending = self._always or await self._ending
        finally:
            self._ending = None
        return self._end(batch, ending)

    def _end(self, batch: Sequence[int], ending: str) -> Sequence[Any]:
        if ending == "unavailable":
            raise Unavailable
        if ending == "one is bad" and any(n % 5 == 0 for n in batch):
            raise ValueError(f"bad: {batch}")
        self.committed |= set(batch)
        if ending == "outcome unknown":
            raise OutcomeUnknown
        if ending == "wrong count":
            return []
        if ending == "some refused":
            self.committed -= {n for n in batch if n % 2}
            return [Conflict(f"{n}") if n % 2 else f"done {n}" for n in batch]
        return [f"done {n}" for n in batch]

    async def act(self, step: str, number: int) -> None:
        if step in (SUBMIT, SUBMIT_LATE):
            self._arrive(late=step == SUBMIT_LATE)
        elif step == LEAVE and self.callers:
            self._leave(number % len(self.callers))
        elif step == KILL:
            for task in asyncio.all_tasks():
                if task.get_name() == "group-commit":
                    task.cancel()
        elif step in ENDINGS and self._ending is not None and not self._ending.done():
            self._ending.set_result(step)
        if step != SUBMIT or number % 2:
            await asyncio.sleep(0)
        if step == STEP:
            for _ in range(8):
                await asyncio.sleep(0)

    def _arrive(self, *, late: bool) -> None:
        name = len(self.callers)
        if late:
            self.late.add(name)
        deadline = Deadline.after(-1) if late else (None if name % 2 else Deadline.after(600))
        self.callers.append(asyncio.create_task(self.group.submit(name, deadline)))

    def _leave(self, name: int) -> None:
        begun = any(name in batch for batch in self.batches)
        if self.callers[name].cancel() and not begun:
            self.left_before.add(name)

    async def end_of_the_day(self) -> list[Any]:
        """Everything that still runs ends well."""
        self._always = "all done"
        if self._ending is not None and not self._ending.done():
            self._ending.set_result("all done")
        async with asyncio.timeout(10):
            return await asyncio.gather(*self.callers, return_exceptions=True)


async def live(schedule: list[tuple[str, int]]) -> None:
    world = World()
    for step, number in schedule:
        await world.act(step, number)
        assert world.group.waiting <= MAX_WAITING
    outcomes = await world.end_of_the_day()

    assert world.rules_kept
    allowed = (str, Conflict, ValueError, WrongCount, Busy, asyncio.CancelledError)
    assert all(isinstance(outcome, allowed) for outcome in outcomes), outcomes
    for name, outcome in enumerate(outcomes):
        if isinstance(outcome, str):
            assert outcome == f"done {name}"
            assert name in world.committed, "acknowledged means committed"
        if isinstance(outcome, (Overloaded, Unavailable, Conflict, ValueError)):
            assert name not in world.committed, "nothing was done"
    tried = [name for batch in world.batches for name in batch]
    assert not world.left_before & set(tried), "who left before the commit is left out"
    assert not world.late & set(tried), "and so is who came past the deadline"
    first_tries = list(dict.fromkeys(tried))
    assert first_tries == sorted(first_tries), "the order of arrival is kept"
    assert max(Counter(tried).values(), default=0) <= 2, "a failed batch is repeated once, one by one"
    assert world.group.waiting == 0


@settings(max_examples=400)
@given(steps)
def test_every_caller_is_answered_once_truly_and_in_order(schedule: list[tuple[str, int]]):
    asyncio.run(live(schedule))
