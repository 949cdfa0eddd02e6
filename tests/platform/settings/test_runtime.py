"""Runtime settings inside a process: typed, swapped at once, rolled out to a part of the callers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from doorbuster.platform.settings.declared import Declared, all_declared, declare, declared_as
from doorbuster.platform.settings.rollout import BUCKETS, bucket_of, buckets_within
from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.settings.tree import WrongSetting
from settings_groups import Door, Limits, groups, rolled_out, stored

KEYS = range(20_000)


@pytest.fixture
def declared() -> Iterator[tuple[Declared[Limits], Declared[Door]]]:
    with groups() as both:
        yield both


@pytest.fixture
def limits(declared: tuple[Declared[Limits], Declared[Door]]) -> Declared[Limits]:
    return declared[0]


@pytest.fixture
def door(declared: tuple[Declared[Limits], Declared[Door]]) -> Declared[Door]:
    return declared[1]


def test_a_value_is_the_default_until_somebody_sets_it(limits: Declared[Limits]):
    runtime = Runtime()
    live = runtime.live(limits)
    assert live() == Limits()
    runtime.apply(stored(1, {"tests.limits": {"per_second": 15}}))
    assert live() == Limits(per_second=15), "other fields keep their defaults"
    assert runtime.version == 1
    runtime.apply(stored(2, {}))
    assert live() == Limits()


def test_whoever_asks_later_gets_what_holds_by_then(limits: Declared[Limits]):
    runtime = Runtime()
    runtime.apply(stored(1, {"tests.limits": {"burst": 30}}))
    assert runtime.live(limits)().burst == 30
    assert runtime.live(limits) is runtime.live(limits)


def test_a_group_declared_after_the_settings_were_read_gets_them_too():
    runtime = Runtime()
    runtime.apply(stored(1, {"tests.limits": {"burst": 30}}))
    assert runtime.problems == {"tests.limits": "there is no such setting"}
    with groups() as (limits, _):
        assert runtime.live(limits)().burst == 30
        assert runtime.problems == {}


def test_an_older_snapshot_does_not_come_back(limits: Declared[Limits]):
    runtime = Runtime()
    runtime.apply(stored(2, {"tests.limits": {"burst": 30}}))
    runtime.apply(stored(1, {"tests.limits": {"burst": 40}}))
    assert (runtime.version, runtime.live(limits)().burst) == (2, 30)


def test_subscribers_see_all_groups_of_a_change_swapped(limits: Declared[Limits], door: Declared[Door]):
    runtime = Runtime()
    limits_live, door_live = runtime.live(limits), runtime.live(door)
    seen: list[Any] = []
    limits_live.subscribe(lambda value: seen.append((value.burst, door_live().open)))
    door_live.subscribe(lambda value: seen.append((value.open, limits_live().burst)))
    both = runtime.subscribe(lambda version, names: seen.append((version, sorted(names))))
    runtime.apply(stored(1, {"tests.limits": {"burst": 30}, "tests.door": {"open": False}}))
    assert seen == [(30, False), (False, 30), (1, ["tests.door", "tests.limits"])]
    seen.clear()
    runtime.apply(stored(2, {"tests.limits": {"burst": 30}, "tests.door": {"open": True}}))
    assert seen == [(True, 30), (2, ["tests.door"])], "who has not changed is not told"
    both()
    seen.clear()
    runtime.apply(stored(3, {}))
    assert seen == [(20, True)]


def test_a_subscriber_that_fails_keeps_nobody_from_the_change(limits: Declared[Limits]):
    runtime = Runtime()
    live = runtime.live(limits)
    seen: list[int] = []

    def fails(_value: Limits) -> None:
        raise RuntimeError

    live.subscribe(fails)
    live.subscribe(lambda value: seen.append(value.burst))
    runtime.apply(stored(1, {"tests.limits": {"burst": 30}}))
    assert (seen, live().burst) == ([30], 30)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"burst": 0}, "tests.limits.burst"),
        ({"burst": "30"}, "tests.limits.burst"),
        ({"burst": True}, "tests.limits.burst"),
        ({"burst": None}, "tests.limits.burst"),
        ({"bursts": 30}, "tests.limits.bursts"),
        ({"paths": ["a", 1]}, "tests.limits.paths[1]"),
        ({"paths": ["a"] * 4}, "tests.limits.paths"),
        ({"burst": 9}, "tests.limits.burst"),
    ],
)
def test_a_stored_value_that_does_not_fit_is_named_and_the_old_one_stays(
    limits: Declared[Limits], door: Declared[Door], entry: dict[str, Any], key: str
):
    runtime = Runtime()
    runtime.apply(stored(1, {"tests.limits": entry, "tests.door": {"open": False}}))
    assert runtime.live(limits)() == Limits(), "at the start that is the default"
    assert runtime.problems["tests.limits"].startswith(f"{key}: ")
    assert not runtime.live(door)().open, "other groups are not held up"
    runtime.apply(stored(2, {"tests.limits": {"burst": 50}}))
    assert (runtime.live(limits)().burst, runtime.problems) == (50, {})
    runtime.apply(stored(3, {"tests.limits": entry}))
    assert runtime.live(limits)().burst == 50
    assert list(runtime.problems) == ["tests.limits"]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'"x"', b'{"value":1}', b'{"values":{}}', b'{"rollout":{"value":{},"percent":101}}', b"\xff"],
)
def test_a_stored_entry_that_is_none_is_not_fatal(limits: Declared[Limits], raw: bytes):
    runtime = Runtime()
    runtime.apply(stored(1, {"tests.limits": raw}))
    assert runtime.live(limits)() == Limits()
    assert runtime.problems["tests.limits"].startswith("tests.limits")


def test_a_percentage_gets_its_share_and_always_the_same_callers(limits: Declared[Limits]):
    runtime = Runtime()
    live = runtime.live(limits)
    before: set[int] = set()
    for version, percent in enumerate((0, 0.5, 5, 20, 50, 99, 100), start=1):
        runtime.apply(stored(version, {"tests.limits": rolled_out({"burst": 99}, percent)}))
        chosen = {key for key in KEYS if live.for_key(key).burst == 99}
        assert chosen == {key for key in KEYS if live.for_key(str(key)).burst == 99}
        assert before <= chosen, "more per cent take it from nobody"
        # Six standard deviations of a fair draw; the hash is fixed, so this passes always or never.
        allowed = 6 * (len(KEYS) * percent / 100 * (1 - percent / 100)) ** 0.5
        assert abs(len(chosen) - len(KEYS) * percent / 100) <= allowed
        before = chosen
    assert live().burst == 99, "a hundred per cent are everybody, also who asks without a key"


def test_without_a_key_one_gets_the_old_value_until_it_is_for_all(limits: Declared[Limits]):
    runtime = Runtime()
    runtime.apply(stored(1, {"tests.limits": rolled_out({"burst": 99}, 99.99)}))
    assert runtime.live(limits)().burst == 20


def test_a_label_decides_before_the_percentage(limits: Declared[Limits]):
    runtime = Runtime()
    live = runtime.live(limits)
    runtime.apply(stored(1, {"tests.limits": rolled_out({"burst": 99}, 10, "beta", "staff", base={"burst": 30})}))
    outside = next(key for key in KEYS if live.for_key(key).burst == 30)
    assert live.for_key(outside, ("beta",)).burst == 99
    assert live.for_key(outside, ("other", "staff")).burst == 99
    assert live.for_key(outside, ("other",)).burst == 30


def test_a_process_with_the_label_has_the_candidate(limits: Declared[Limits]):
    canary, other = Runtime(("canary",)), Runtime()
    for runtime in (canary, other):
        runtime.apply(stored(1, {"tests.limits": rolled_out({"burst": 99}, 0, "canary")}))
    assert (canary.live(limits)().burst, other.live(limits)().burst) == (99, 20)
    assert canary.live(limits).for_key("anybody").burst == 99


def test_a_candidate_that_does_not_fit_leaves_the_whole_group_as_it_was(limits: Declared[Limits]):
    runtime = Runtime()
    runtime.apply(stored(1, {"tests.limits": rolled_out({"burst": 0}, 10, base={"burst": 30})}))
    assert runtime.live(limits)() == Limits()
    assert runtime.problems["tests.limits"].startswith("tests.limits.burst: ")


def test_groups_do_not_choose_the_same_callers():
    first = {key for key in KEYS if bucket_of("a", key) < buckets_within(10)}
    second = {key for key in KEYS if bucket_of("b", key) < buckets_within(10)}
    assert len(first & second) < len(first) * 0.2


def test_buckets_are_the_same_in_every_process_and_version():
    assert [bucket_of("limits.claims", key) for key in ("", "1", 1, "用户", "\ud800")] == [5476, 3132, 3132, 8870, 5738]


@given(st.floats(0, 100))
def test_every_percentage_is_within_bounds(percent: float):
    assert 0 <= buckets_within(percent) <= BUCKETS
    assert abs(buckets_within(percent) - percent * BUCKETS / 100) <= 0.5


class Loose(Struct, frozen=True):
    x: int = 1


class Fluid(Struct, forbid_unknown_fields=True):
    x: int = 1


@pytest.mark.parametrize("name", ["", "Limits", "limits.", ".limits", "a..b", "a-b", "1a", "a.1", "a" * 101, "a\n"])
def test_a_malformed_name_is_refused(name: str):
    with pytest.raises(ValueError, match="no name"):
        declare(name, Limits, Limits())
    assert name not in all_declared()


@pytest.mark.parametrize("name", ["tests.limits", "tests", "tests.limits.more"])
def test_a_name_is_declared_once_and_holds_no_other(limits: Declared[Limits], name: str):
    with pytest.raises(ValueError, match="declared already"):
        declare(name, Limits, Limits())


@pytest.mark.parametrize("kind", [Loose, Fluid])
def test_a_group_is_frozen_and_knows_its_fields(kind: Any):
    with pytest.raises(TypeError, match="frozen"):
        declare("tests.loose", kind, kind())
    assert "tests.loose" not in all_declared()


def test_a_default_that_its_own_bounds_refuse_is_noticed_at_once():
    with pytest.raises(WrongSetting, match=r"^tests\.wrong\.burst"):
        declare("tests.wrong", Limits, Limits(burst=0))
    assert "tests.wrong" not in all_declared()


def test_an_undeclared_name_is_unknown():
    with pytest.raises(WrongSetting, match="no such setting"):
        declared_as("tests.limits")
