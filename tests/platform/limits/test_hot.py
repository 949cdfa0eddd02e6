"""Hot values are found in bounded memory, with the errors that are written down and no others."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.hot import VALUE_MAX, HotLimiter, HotSettings
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.limits.sketch import DOUBLINGS_MAX, Sketch

HALF_LIFE_S = 10.0
questions = st.lists(
    st.tuples(st.sampled_from("aaaaabbbcdefghijklmnopq"), st.floats(0, 5) | st.sampled_from([0.0, 700.0, 1e6])),
    max_size=300,
)


@given(st.integers(1, 8), questions)
def test_the_truth_is_within_the_bounds_of_the_sketch(values_max: int, asked: list[tuple[str, float]]):
    now_s = 0.0
    sketch = Sketch(values_max, HALF_LIFE_S, now_s)
    truth: dict[str, float] = dict.fromkeys("abcdefghijklmnopq", 0.0)
    for value, passes_s in asked:
        now_s += passes_s
        truth = {each: count * 2.0 ** -(passes_s / HALF_LIFE_S) for each, count in truth.items()}
        truth[value] += 1
        assert sketch.count(value, now_s) == pytest.approx(sketch.estimate(value, now_s))
        assert len(sketch) <= values_max
    total = sum(truth.values())
    assert sketch.total(now_s) == pytest.approx(total)
    for value, count in truth.items():
        found = sketch.estimate(value, now_s)
        spare = 1e-6 * (1 + count)
        assert found.least - spare <= count <= found.most + spare
        assert found.most - found.least <= total / values_max + spare
    for value, count in truth.items():
        if count > total / values_max + 1e-6:
            assert value in dict(sketch.top(now_s, values_max))


def test_weights_are_brought_down_before_they_overflow():
    sketch, now_s = Sketch(10, 1.0, 0.0), 0.0
    for _ in range(40):
        now_s += DOUBLINGS_MAX - 1
        sketch.count("a", now_s)
        assert sketch.estimate("a", now_s).most == pytest.approx(1.0)
    assert sketch.count("a", now_s + 1e12).most == pytest.approx(1.0)


class Door:
    def __init__(self, settings: HotSettings, limit: int = 10, period_s: float = 1.0) -> None:
        self.now_s, self.settings = 1000.0, settings
        limits = LimitSettings(limit=limit, period_s=period_s)
        inner = LocalLimiter(TokenBucket(), lambda: limits, now_us=lambda: round(self.now_s * 1e6))
        self.limiter = HotLimiter(inner, lambda: self.settings, now_s=lambda: self.now_s)

    async def stream(self, rates: dict[str, float], seconds: float, seed: int = 1) -> Counter[str]:
        """Random arrivals at these rates a second; how many of each were admitted."""
        dice, admitted, all_per_s = random.Random(seed), Counter[str](), sum(rates.values())
        values, weights = list(rates), list(rates.values())
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += dice.expovariate(all_per_s)
            value = dice.choices(values, weights)[0]
            admitted[value] += (await self.limiter.take(value)).allowed
        return admitted


async def test_only_the_hot_value_is_limited():
    door = Door(HotSettings(hot_per_s=50.0, half_life_s=2.0, values_max=100))
    rates = {f"cold-{at}": 5.0 for at in range(20)} | {"hot": 200.0}
    await door.stream(rates, 10)
    admitted = await door.stream(rates, 10, seed=2)
    assert admitted["hot"] <= 10 + 10 * 10 + 1
    assert sum(admitted[value] for value in rates if value != "hot") > 900, "nearly a thousand: all of them"
    assert door.limiter.hottest(1)[0][0] == "hot"
    assert door.limiter.hottest(1)[0][1] == pytest.approx(200, rel=0.2)


async def test_a_crowd_of_values_in_a_small_sketch_limits_nobody_who_is_not_hot():
    door = Door(HotSettings(hot_per_s=20.0, half_life_s=2.0, values_max=10), limit=1, period_s=86_400)
    dice = random.Random(3)
    for _ in range(20_000):
        door.now_s += 0.001  # a thousand a second, five of each value
        assert (await door.limiter.take(f"value-{dice.randrange(200)}")).allowed


async def test_a_value_is_hot_after_the_time_that_is_written_down():
    settings = HotSettings(hot_per_s=100.0, half_life_s=4.0)
    door = Door(settings)
    rate = 400.0
    began_s = door.now_s
    while not door.limiter.is_hot("hot"):
        door.now_s += 1 / rate
    expected_s = -math.log2(1 - settings.hot_per_s / rate) * settings.half_life_s
    assert door.now_s - began_s == pytest.approx(expected_s, rel=0.05)


async def test_it_cools_down_below_half_and_its_bucket_is_remembered():
    door = Door(HotSettings(hot_per_s=100.0, half_life_s=1.0), limit=5, period_s=3600.0)
    await door.stream({"hot": 1000.0}, 3)
    assert not (await door.limiter.take("hot")).allowed
    door.now_s += 2
    assert not (await door.limiter.take("hot")).allowed, "a quarter of a thousand is above half of the threshold"
    door.now_s += 3
    assert await door.stream({"hot": 20.0}, 5) == {"hot": pytest.approx(100, abs=40)}, "cool: all of them"
    await door.stream({"hot": 1000.0}, 1)
    assert not (await door.limiter.take("hot")).allowed


async def test_a_changed_threshold_counts_at_once():
    door = Door(HotSettings(hot_per_s=1000.0, half_life_s=1.0), limit=1, period_s=3600.0)
    assert (await door.stream({"a": 200.0}, 5))["a"] > 800
    door.settings = HotSettings(hot_per_s=100.0, half_life_s=1.0)
    assert [(await door.limiter.take("a")).allowed for _ in range(2)] == [True, False]
    door.settings = HotSettings(hot_per_s=1000.0, half_life_s=1.0)
    assert (await door.limiter.take("a")).allowed


async def test_memory_is_bounded_whatever_is_asked_for():
    door = Door(HotSettings(hot_per_s=0.1, half_life_s=0.1, values_max=10))
    for at in range(5000):
        door.now_s += 0.001
        await door.limiter.take(f"{'x' * VALUE_MAX}{at}")
        await door.limiter.take(f"{at}-{'y' * 1000}")
    assert len(door.limiter._sketch) <= 10
    assert len(door.limiter._hot) <= 20
    assert max(len(value) for value, _ in door.limiter.hottest(100)) <= VALUE_MAX
