"""The pool as a state machine: callers come, go, fail and end in any order, against a model that only counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.pools import PoolSettings, WorkerPool
from leaks import Leaks
from pools_working import Bad, Work, quiet

WORKERS, WAITING, SUBMITTING = 2, 3, 2
INSIDE = WORKERS + WAITING


@dataclass
class Caller:
    number: int
    asking: asyncio.Future[int]
    patience: str = "waits"
    """waits, left, or refused."""


class PoolByChance(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.work = Work()
        self.callers: list[Caller] = []
        """Those in the pool or before it, in order of arrival."""
        self.inside: list[Caller] = []
        self.answered: dict[int, str] = {}
        self.refused = 0
        self.failing: set[int] = set()
        self.number = 0

        async def begin() -> None:
            self.leaks = Leaks()
            terms = PoolSettings(workers=WORKERS, waiting_max=WAITING, submitting_max=SUBMITTING)
            self.pool = WorkerPool(self.work, terms, name="by-chance")

        self.do(begin())

    def do(self, what: object) -> None:
        async def settled() -> None:
            await what  # type: ignore[misc]
            await quiet(12)

        self.loop.run_until_complete(settled())

    def waiting(self) -> list[Caller]:
        return [caller for caller in self.callers if caller.patience == "waits"]

    async def nothing(self) -> None:
        await quiet(12)

    @rule(patient=st.booleans(), fails=st.booleans())
    def come(self, patient: bool, fails: bool) -> None:
        number, self.number = self.number, self.number + 1
        if fails:
            self.work.fail(number, Bad(number))
            self.failing.add(number)
        full = len(self.waiting()) >= INSIDE
        outside = max(0, len(self.waiting()) - INSIDE)

        async def ask() -> None:
            if patient:
                self.callers.append(Caller(number, asyncio.ensure_future(self.pool.ask(number))))
                return
            try:
                self.callers.append(Caller(number, self.pool.offer(number)))
            except Overloaded:
                assert full
            else:
                assert not full

        self.do(ask())
        if patient and outside >= SUBMITTING:
            caller = self.callers.pop()
            assert isinstance(caller.asking.exception(), Overloaded)
        self.refused = self.pool.refused

    @rule(choice=st.integers(0, 100), more=st.booleans())
    def end_one(self, choice: int, more: bool) -> None:
        """One that is in work comes to its end; perhaps its caller, or another, goes in the same moment."""
        at_work = self.waiting()[:WORKERS]
        if not at_work:
            return
        caller = at_work[choice % len(at_work)]

        async def end() -> None:
            self.work.let(caller.number)
            if more:
                others = [other for other in self.waiting() if other is not caller]
                if others:
                    self.leave(others[choice % len(others)])

        self.do(end())
        assert caller.asking.done()
        outcome = caller.asking.exception()
        assert isinstance(outcome, Bad) if caller.number in self.failing else outcome is None
        if outcome is None:
            assert caller.asking.result() == 10 * caller.number
        self.callers.remove(caller)

    @precondition(lambda self: self.waiting())
    @rule(choices=st.lists(st.integers(0, 100), min_size=1, max_size=4))
    def go(self, choices: list[int]) -> None:
        """Some go at once, wherever they are."""

        async def leave() -> None:
            for choice in choices:
                if left := self.waiting():
                    self.leave(left[choice % len(left)])

        self.do(leave())

    def leave(self, caller: Caller) -> None:
        caller.asking.cancel()
        caller.patience = "left"

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        for caller in [caller for caller in self.callers if caller.patience == "left"]:
            assert caller.asking.cancelled()
            self.callers.remove(caller)
        waiting = self.waiting()
        assert self.pool.under_way == self.work.now == min(len(waiting), WORKERS)
        assert self.pool.waiting == min(WAITING, max(0, len(waiting) - WORKERS))
        assert self.pool.submitting == max(0, len(waiting) - INSIDE)
        assert self.work.most <= WORKERS
        at_work = [n for n in self.work.begun if n not in self.work.ended and n not in self.work.cancelled]
        assert {caller.number for caller in waiting[:WORKERS]} <= set(at_work), "in order of arrival"
        assert self.work.begun == sorted(self.work.begun)

    def teardown(self) -> None:
        async def close() -> None:
            await self.pool.close(0)
            await quiet(12)
            assert self.leaks.left() == []
            for caller in self.callers:
                assert caller.asking.done()
                if not caller.asking.cancelled():
                    assert isinstance(caller.asking.exception(), Overloaded), "it had not been let in"

        self.loop.run_until_complete(close())
        self.loop.close()


PoolByChance.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPoolByChance = PoolByChance.TestCase


@pytest.mark.parametrize("seed", range(3))
def test_the_machine_reaches_every_state(seed: int):
    """Else it proves nothing."""
    machine = PoolByChance()
    try:
        for fails in (False, True, False, False, False, False, False, False):
            machine.come(True, fails)
            machine.it_is_as_the_model_says()
        assert (machine.pool.under_way, machine.pool.waiting, machine.pool.submitting) == (2, 3, 2)
        assert machine.pool.refused == 1
        machine.end_one(seed, True)
        machine.go([seed, 1])
        machine.it_is_as_the_model_says()
    finally:
        machine.teardown()
