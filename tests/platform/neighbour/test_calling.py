"""A call to a neighbour: all its protections together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Conflict, NotFound, OutcomeUnknown, Overloaded, TooMany, Unavailable
from doorbuster.platform.breaker import BreakerSettings, CircuitOpen
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.neighbour import Neighbour, Neighbours, NeighbourSettings, TooSlow
from doorbuster.platform.retry import HedgeSettings, RetrySettings
from platform_ticking import Ticking

SETTINGS = NeighbourSettings(
    breaker=BreakerSettings(), retry=RetrySettings(first_pause_ms=0), bulkhead=BulkheadSettings(at_once=1_000)
)


class Under:
    """A neighbour that does as the test says, and counts who comes."""

    def __init__(self, settings: NeighbourSettings = SETTINGS) -> None:
        self.time, self.settings, self.calls = Ticking(), settings, 0
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.neighbour = Neighbour("test", "", lambda: self.settings, self.time, lambda: 0.5)

    @property
    def state(self) -> str:
        return self.neighbour.breaker.snapshot().state

    async def work(self) -> str:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return "answer"

    async def call(self, **options: object) -> str:
        return await self.neighbour.call(self.work, **options)  # type: ignore[arg-type]

    async def fail(self, times: int, error: Exception) -> None:
        self.error = error
        for _ in range(times):
            with pytest.raises(type(error)):
                await self.call()
        self.error = None

    async def half_opened(self) -> Under:
        await self.fail(20, OSError())
        self.time.advance(self.settings.breaker.open_ms)
        assert self.state == "half_open"
        self.calls = 0
        return self

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)


async def test_with_the_neighbour_down_it_is_hardly_asked_and_callers_know_at_once():
    under = Under()
    under.error = OSError("refused")
    told = 0
    for _ in range(1_000):
        try:
            await under.call(idempotent=True)
        except OSError:
            continue
        except CircuitOpen as refused:
            assert refused.retry_after_s == 5
            told += 1
    assert under.calls == 20, "then the breaker is open"
    assert told >= 980


async def test_also_without_a_breaker_calls_are_at_most_a_tenth_more_than_requests():
    under = Under(replace(SETTINGS, forced="closed", retry=RetrySettings(first_pause_ms=0)))
    under.error = OSError("refused")
    for _ in range(1_000):
        with pytest.raises(OSError, match="refused"):
            await under.call(idempotent=True)
    assert under.calls <= 1_100 + 10, "the reserve is there once"


@pytest.mark.parametrize("crowd", [3, 50])
async def test_half_open_lets_exactly_three_of_a_crowd_through(crowd: int):
    under = await Under().half_opened()
    under.gate = asyncio.Event()
    calls = [asyncio.ensure_future(under.call(idempotent=True)) for _ in range(crowd)]
    await under.until(lambda: under.calls == 3 and sum(call.done() for call in calls) == crowd - 3)
    assert (under.calls, under.neighbour.breaker.snapshot().probes_under_way) == (3, 3)
    under.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes.count("answer") == 3
    assert sum(isinstance(outcome, CircuitOpen) for outcome in outcomes) == crowd - 3
    assert (under.state, await under.call()) == ("closed", "answer")


async def test_failing_probes_are_not_tried_again_once_it_has_opened():
    under = await Under().half_opened()
    under.error = OSError("refused")
    outcomes = await asyncio.gather(*(under.call(idempotent=True) for _ in range(10)), return_exceptions=True)
    assert under.state == "open"
    assert under.calls <= 3
    assert all(isinstance(outcome, (OSError, CircuitOpen)) for outcome in outcomes)


async def test_a_cancelled_probe_is_no_failure_and_gives_its_place_back():
    under = await Under().half_opened()
    under.gate = asyncio.Event()
    calls = [asyncio.ensure_future(under.call()) for _ in range(3)]
    await under.until(lambda: under.calls == 3)
    with pytest.raises(CircuitOpen):
        await under.call()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    seen = under.neighbour.snapshot()
    assert (seen.breaker.state, seen.breaker.failed, seen.breaker.probes_under_way) == ("half_open", 0, 0)
    under.gate.set()
    assert [await under.call() for _ in range(3)] == ["answer"] * 3
    assert under.state == "closed"


@pytest.mark.parametrize("error", [NotFound(), Conflict(), Conflict("sold out")])
async def test_a_business_refusal_says_nothing_against_the_neighbour(error: Exception):
    under = Under()
    await under.fail(100, error)
    assert (under.state, under.neighbour.breaker.snapshot().failed, under.calls) == ("closed", 0, 100)


@pytest.mark.parametrize(
    "error", [Unavailable(), OutcomeUnknown(), Overloaded(), TooMany(), OSError(), ValueError("?")]
)
async def test_no_answer_or_one_that_makes_no_sense_does(error: Exception):
    under = Under()
    await under.fail(20, error)
    assert under.state == "open"


async def test_who_does_not_answer_in_time_is_not_waited_for_nor_asked_again():
    under = Under(replace(SETTINGS, limit_ms=5))
    under.gate = asyncio.Event()
    for _ in range(20):
        with pytest.raises(TooSlow):
            await under.call(idempotent=True)
    assert (under.calls, under.state, under.neighbour.busy()) == (20, "open", False)


async def test_the_callers_deadline_ends_it_too():
    under = Under()
    under.gate = asyncio.Event()
    with pytest.raises(TooSlow):
        await under.call(deadline=Deadline.after(0.005))
    with pytest.raises(Overloaded, match="deadline"):
        await under.call(deadline=Deadline.after(-1))
    assert under.calls == 1


async def test_a_time_limit_of_the_works_own_is_an_error_like_others():
    under = Under()
    under.error = TimeoutError("its own")
    with pytest.raises(TimeoutError, match="its own"):
        await under.call()


async def test_a_stalled_neighbour_holds_few_and_refuses_the_others_at_once():
    under = Under(replace(SETTINGS, bulkhead=BulkheadSettings(at_once=4, waiting_max=8)))
    under.gate = asyncio.Event()
    calls = [asyncio.ensure_future(under.call()) for _ in range(500)]
    await under.until(lambda: sum(call.done() for call in calls) == 488)
    seen = under.neighbour.snapshot()
    assert (under.calls, seen.under_way, seen.waiting, seen.overloaded) == (4, 4, 8, 488)
    assert seen.breaker.failed == 0, "being full is not the neighbour's failure"
    under.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes.count("answer") == 12
    assert not under.neighbour.busy()


async def test_a_slow_read_is_hedged_and_the_loser_frees_its_place():
    under = Under(replace(SETTINGS, hedge=HedgeSettings(enabled=True, samples_min=1, after_ms_min=0)))
    await under.call(read=True)
    under.gate = asyncio.Event()
    reading = asyncio.ensure_future(under.call(read=True))
    await under.until(lambda: under.calls == 3)
    under.gate.set()
    assert await reading == "answer"
    seen = under.neighbour.snapshot()
    assert (seen.hedges, seen.breaker.failed, under.neighbour.busy()) == (1, 0, False)


async def test_what_is_set_for_a_name_counts_for_all_its_instances_at_once():
    settings = NeighbourSettings()
    neighbours = Neighbours(Ticking(), lambda: 0.5)
    one, other = (neighbours.get("n", instance, lambda: settings) for instance in ("a", "b"))
    assert neighbours.get("n", "a") is one
    await one.call(_nothing)
    settings = NeighbourSettings(forced="open")
    for each in (one, other):
        with pytest.raises(CircuitOpen):
            await each.call(_nothing)


async def test_one_instance_down_leaves_the_others_alone():
    neighbours = Neighbours()
    bad, good = neighbours.get("hosts", "bad"), neighbours.get("hosts", "good")

    async def failing() -> None:
        raise OSError

    for _ in range(20):
        with pytest.raises(OSError):
            await bad.call(failing)
    with pytest.raises(CircuitOpen):
        await bad.call(_nothing)
    await good.call(_nothing)
    assert {seen.instance: seen.breaker.state for seen in neighbours.snapshots()} == {"bad": "open", "good": "closed"}


async def test_the_registry_is_bounded_and_forgets_who_was_longest_unused():
    neighbours = Neighbours(at_most=3)
    for name in ("forced", "quiet", "used"):
        neighbours.get(name)
    assert neighbours.force("forced", "", "open") is not None
    assert neighbours.force("unheard-of", "", "open") is None
    neighbours.get("quiet")
    neighbours.get("new")
    assert [seen.name for seen in neighbours.snapshots()] == ["forced", "new", "quiet"]


async def test_when_all_are_busy_a_new_one_is_refused():
    neighbours = Neighbours(at_most=2)
    gate = asyncio.Event()
    calls = [asyncio.ensure_future(neighbours.get(name).call(gate.wait)) for name in ("a", "b")]
    while not all(neighbours.get(name).busy() for name in ("a", "b")):
        await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        neighbours.get("c")
    gate.set()
    await asyncio.gather(*calls)
    neighbours.get("c")
    assert len(neighbours.snapshots()) == 2


async def _nothing() -> None:
    """Answers at once."""
