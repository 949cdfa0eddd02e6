"""Group commit: batches form by themselves, everybody gets their own outcome, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Busy, Conflict, OutcomeUnknown, Overloaded, Unavailable
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.errors import RowRejected
from doorbuster.platform.sql.group_commit import GroupCommit, WrongCount

from . import counters

Outcomes = list[Any]


class Commits:
    """A commit that a test lets through when it likes. A request `n` is answered by `-n`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.answer: Callable[[Sequence[int]], Sequence[Any]] = lambda batch: [-n for n in batch]
        self._turnstile = asyncio.Semaphore(0)

    async def __call__(self, batch: Sequence[int]) -> Sequence[Any]:
        self.batches.append(list(batch))
        await self._turnstile.acquire()
        return self.answer(batch)

    def let_through(self, count: int = 1) -> None:
        for _ in range(count):
            self._turnstile.release()


@pytest.fixture
def commits() -> Commits:
    return Commits()


async def settle() -> None:
    """Lets everything happen that can happen without a commit or a clock."""
    for _ in range(20):
        await asyncio.sleep(0)


def submit(group: GroupCommit[int, int], *requests: int, deadline: Deadline | None = None) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(group.submit(request, deadline)) for request in requests]


async def outcomes(tasks: Sequence[asyncio.Task[int]]) -> Outcomes:
    async with asyncio.timeout(10):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_lone_request_commits_at_once(commits: Commits):
    tasks = submit(GroupCommit(commits), 1)
    await settle()
    assert commits.batches == [[1]]
    commits.let_through()
    assert await outcomes(tasks) == [-1]


async def test_who_arrives_during_a_commit_forms_the_next_batch_in_order(commits: Commits):
    group = GroupCommit(commits)
    tasks = submit(group, 1)
    await settle()
    tasks += submit(group, 2, 3)
    await settle()
    tasks += submit(group, 4)
    await settle()
    assert commits.batches == [[1]]
    assert group.waiting == 3
    commits.let_through()
    await settle()
    assert commits.batches == [[1], [2, 3, 4]]
    commits.let_through()
    assert await outcomes(tasks) == [-1, -2, -3, -4]


async def test_a_batch_is_bounded(commits: Commits):
    group = GroupCommit(commits, max_batch=3)
    tasks = submit(group, *range(1, 9))
    commits.let_through(5)
    assert await outcomes(tasks) == [-n for n in range(1, 9)]
    assert commits.batches == [[1, 2, 3], [4, 5, 6], [7, 8]]


async def test_after_a_rest_it_begins_again(commits: Commits):
    group = GroupCommit(commits)
    commits.let_through(3)
    for n in range(3):
        assert await outcomes(submit(group, n)) == [-n]
        await settle()
    assert commits.batches == [[0], [1], [2]]


async def test_each_gets_an_outcome_of_its_own(commits: Commits):
    refused = Conflict()
    commits.answer = lambda batch: [refused if n % 2 else n for n in batch]
    commits.let_through()
    assert await outcomes(submit(GroupCommit(commits), 1, 2, 3)) == [refused, 2, refused]


async def test_a_full_queue_answers_at_once(commits: Commits):
    group = GroupCommit(commits, max_waiting=2)
    tasks = submit(group, 1)
    await settle()
    tasks += submit(group, 2, 3)
    await settle()
    with pytest.raises(Overloaded):
        await group.submit(4)
    commits.let_through(2)
    assert await outcomes(tasks) == [-1, -2, -3]
    commits.let_through()
    assert await group.submit(5) == -5
    assert commits.batches == [[1], [2, 3], [5]]


async def test_callers_who_went_away_are_left_out_before_the_commit(commits: Commits):
    group = GroupCommit(commits)
    first = submit(group, 1)
    await settle()
    waiting = submit(group, 2, 3, 4)
    await settle()
    waiting[1].cancel()
    commits.let_through(2)
    assert await outcomes([*first, waiting[0], waiting[2]]) == [-1, -2, -4]
    assert commits.batches == [[1], [2, 4]]
    assert waiting[1].cancelled()


async def test_a_caller_who_goes_away_during_the_commit_changes_nothing(commits: Commits):
    group = GroupCommit(commits)
    tasks = submit(group, 1, 2)
    await settle()
    tasks[0].cancel()
    await settle()
    commits.let_through()
    assert await outcomes(tasks[1:]) == [-2]
    commits.let_through()
    assert await group.submit(3) == -3
    assert commits.batches == [[1, 2], [3]]


async def test_callers_past_their_deadline_are_told_so_and_left_out(commits: Commits):
    group = GroupCommit(commits)
    first = submit(group, 1)
    await settle()
    late, early = submit(group, 2, deadline=Deadline.after(-1)), submit(group, 3, deadline=Deadline.after(60))
    await settle()
    commits.let_through(2)
    assert await outcomes([*first, *early]) == [-1, -3]
    assert commits.batches == [[1], [3]]
    with pytest.raises(Overloaded, match="deadline"):
        await late[0]


async def test_a_batch_of_nobody_is_not_committed(commits: Commits):
    group = GroupCommit(commits)
    tasks = submit(group, 1, 2, deadline=Deadline.after(-1))
    assert [type(outcome) for outcome in await outcomes(tasks)] == [Overloaded] * 2
    assert commits.batches == []
    commits.let_through()
    assert await group.submit(3) == -3


@pytest.mark.parametrize("error", [Unavailable("down"), OutcomeUnknown(), Overloaded(), Busy()], ids=repr)
async def test_when_the_commit_is_busy_all_are_told_and_nothing_is_repeated(commits: Commits, error: Busy):
    def fail(_: Sequence[int]) -> Sequence[Any]:
        raise error

    commits.answer = fail
    commits.let_through(9)
    assert await outcomes(submit(GroupCommit(commits), 1, 2, 3)) == [error] * 3
    assert commits.batches == [[1, 2, 3]]


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3, 4]], ids=len)
async def test_a_wrong_count_is_told_to_all_and_nothing_is_repeated(commits: Commits, answers: list[int]):
    commits.answer = lambda _: answers
    commits.let_through(9)
    told = await outcomes(submit(GroupCommit(commits), 1, 2, 3))
    assert [type(outcome) for outcome in told] == [WrongCount] * 3
    assert commits.batches == [[1, 2, 3]]


async def test_a_batch_that_fails_is_committed_one_by_one_in_order(commits: Commits):
    bad = ValueError("2 is bad")

    def fail(batch: Sequence[int]) -> Sequence[Any]:
        if 2 in batch:
            raise bad
        return [-n for n in batch]

    commits.answer = fail
    commits.let_through(9)
    assert await outcomes(submit(GroupCommit(commits), 1, 2, 3)) == [-1, bad, -3]
    assert commits.batches == [[1, 2, 3], [1], [2], [3]]


async def test_who_goes_away_while_others_are_committed_one_by_one_is_left_out(commits: Commits):
    def fail(batch: Sequence[int]) -> Sequence[Any]:
        if len(batch) > 1:
            raise ValueError
        return [-n for n in batch]

    commits.answer = fail
    group = GroupCommit(commits)
    deadline = Deadline.after(0.02)
    tasks = [*submit(group, 1, 2), *submit(group, 3, deadline=deadline), *submit(group, 4)]
    commits.let_through()
    await settle()
    assert commits.batches == [[1, 2, 3, 4], [1]]
    tasks[1].cancel()
    while not deadline.passed():
        await asyncio.sleep(0.001)
    commits.let_through(9)
    told = await outcomes([tasks[0], *tasks[2:]])
    assert (told[0], type(told[1]), told[2]) == (-1, Overloaded, -4)
    assert commits.batches == [[1, 2, 3, 4], [1], [4]]


async def test_a_cancelled_committer_leaves_nobody_waiting(commits: Commits):
    group = GroupCommit(commits, max_batch=2)
    tasks = submit(group, 1, 2, 3, 4, 5)
    await settle()
    cancel_committer()
    told = await outcomes(tasks)
    assert [type(outcome) for outcome in told] == [OutcomeUnknown] * 2 + [Overloaded] * 3
    assert group.waiting == 0
    commits.let_through(9)
    assert await group.submit(6) == -6


async def test_a_committer_that_is_cancelled_before_it_began_leaves_nobody_waiting(commits: Commits):
    group = GroupCommit(commits)
    tasks = submit(group, 1, 2)
    for task in tasks:
        await until_waiting(group, task)
    cancel_committer()
    assert [type(outcome) for outcome in await outcomes(tasks)] == [Overloaded] * 2
    assert commits.batches == []
    commits.let_through()
    assert await outcomes(submit(group, 3)) == [-3]


async def test_a_committer_cancelled_while_it_commits_one_by_one_leaves_nobody_waiting(commits: Commits):
    def fail(batch: Sequence[int]) -> Sequence[Any]:
        if len(batch) > 1:
            raise ValueError
        return [-n for n in batch]

    commits.answer = fail
    tasks = submit(GroupCommit(commits), 1, 2, 3)
    commits.let_through(2)
    await settle()
    assert commits.batches == [[1, 2, 3], [1], [2]]
    cancel_committer()
    told = await outcomes(tasks)
    assert (told[0], type(told[1]), type(told[2])) == (-1, OutcomeUnknown, Overloaded)


def cancel_committer() -> None:
    (committer,) = (task for task in asyncio.all_tasks() if task.get_name() == "group-commit")
    committer.cancel()


async def until_waiting(group: GroupCommit[int, int], task: asyncio.Task[int]) -> None:
    """Steps the loop no further than until `task` has submitted."""
    coroutine: Any = task.get_coro()
    while coroutine.cr_await is None and not task.done():
        await asyncio.sleep(0)


async def test_closing_carries_through_what_waits_and_refuses_newcomers(commits: Commits):
    group = GroupCommit(commits, max_batch=1)
    tasks = submit(group, 1, 2)
    await settle()
    closing = asyncio.create_task(group.close())
    await settle()
    with pytest.raises(Overloaded):
        await group.submit(3)
    commits.let_through(2)
    await closing
    assert await outcomes(tasks) == [-1, -2]
    await group.close()


async def test_a_closer_who_goes_away_cancels_nobodys_commit(commits: Commits):
    group = GroupCommit(commits)
    tasks = submit(group, 1)
    await settle()
    closing = asyncio.create_task(group.close())
    await settle()
    closing.cancel()
    await settle()
    commits.let_through()
    assert await outcomes(tasks) == [-1]


def inserting(database: Database) -> Callable[[Sequence[int]], Awaitable[Sequence[int]]]:
    """A commit that inserts counters with these values; a negative one is refused by the table."""

    async def commit(batch: Sequence[int]) -> Sequence[int]:
        rows = [{"name": f"{value}", "value": value} for value in batch]

        def work(tx: Tx) -> list[int]:
            tx.execute(sa.insert(counters.counters), rows)
            return list(batch)

        return await database.write(work)

    return commit


async def test_on_a_real_table_one_bad_item_fails_alone(database: Database):
    group = GroupCommit(inserting(database))
    told = await outcomes(submit(group, 1, 2, -3, 4, 2**63, 5))
    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in told] == [
        1,
        2,
        RowRejected,
        4,
        RowRejected,
        5,
    ]
    assert await database.read(counters.everything) == {f"{n}": n for n in (1, 2, 4, 5)}


async def test_on_a_real_table_whoever_was_acknowledged_is_there(database: Database):
    group = GroupCommit(inserting(database), max_batch=64)
    tasks = submit(group, *range(500))
    await settle()
    for task in tasks[::7]:
        task.cancel()
    told = await outcomes(tasks)
    there = set((await database.read(counters.everything)).values())
    assert {outcome for outcome in told if isinstance(outcome, int)} <= there
    assert len(there) >= 500 - len(tasks[::7])


async def test_a_commit_that_takes_too_long_is_an_unknown_outcome_and_the_next_batch_has_its_turn(commits: Commits):
    group = GroupCommit(commits, max_batch=2, patience_s=0.05)
    outcomes = await asyncio.gather(*[group.submit(n) for n in (1, 2)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 2
    commits.let_through()
    assert await group.submit(3) == -3
    assert commits.batches == [[1, 2], [3]], "nothing was repeated singly"


async def test_a_time_limit_of_the_commit_itself_is_no_unknown_outcome():
    async def commit(batch: Sequence[int]) -> Sequence[int]:
        raise TimeoutError

    group = GroupCommit(commit, patience_s=60)
    with pytest.raises(TimeoutError):
        await group.submit(1)
