"""The city's proof finds what it says it finds: each rule is broken once in a good log."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from doorbuster.kernel.places import Place
from doorbuster.lab.city.baselines import ours
from doorbuster.lab.city.model import BrokenCity, CityPlan, Entry, Kind
from doorbuster.lab.city.proof import check
from doorbuster.lab.city.run import City

PLAN = CityPlan(orders=120, couriers=25, gone_share=0.4, cancel_share=0.3)
Log = list[Entry]


@pytest.fixture(scope="module")
def city() -> City:
    city = City(5, PLAN)
    city.run(ours)
    return city


def first(log: Log, kind: Kind) -> int:
    return next(n for n, entry in enumerate(log) if entry.kind == kind)


def changed(log: Log, kind: Kind, **fields: object) -> Log:
    n = first(log, kind)
    return [*log[:n], msgspec.structs.replace(log[n], **fields), *log[n + 1 :]]


def without(log: Log, kind: Kind) -> Log:
    n = first(log, kind)
    return [*log[:n], *log[n + 1 :]]


def another_offer(log: Log) -> Log:
    """The first courier who accepted is offered one more order, which nobody has yet."""
    n = first(log, "accepted")
    taken = {entry.order_id for entry in log[: n + 1] if entry.kind == "offered"}
    other = next(entry.order_id for entry in log if entry.kind == "placed" and entry.order_id not in taken)
    return [*log[: n + 1], msgspec.structs.replace(log[n], kind="offered", order_id=other), *log[n + 1 :]]


def offered_again(log: Log) -> Log:
    n = first(log, "accepted")
    return [*log[: n + 1], msgspec.structs.replace(log[n], kind="offered", courier_id=999), *log[n + 1 :]]


def left_with_the_lost(log: Log) -> Log:
    return changed(log, "reassigned", ms=log[first(log, "reassigned")].ms + 600_000)


def taken_from_who_was_there(log: Log) -> Log:
    lost = log[first(log, "reassigned")].courier_id
    return [entry for entry in log if entry.kind != "gone" or entry.courier_id != lost]


BREAKS: list[tuple[str, Callable[[Log], Log], str]] = [
    ("no pick-up", lambda log: without(log, "picked_up"), "delivered after accepted"),
    ("never ends", lambda log: without(log, "delivered"), "at once|does not end"),
    ("cancel is lost", lambda log: without(log, "cancelled"), "does not end"),
    ("two couriers", lambda log: changed(log, "picked_up", courier_id=999), "not his|at once"),
    ("offered twice", offered_again, "offered after accepted"),
    ("two orders at once", another_offer, "at once"),
    ("too early", lambda log: changed(log, "picked_up", ms=0), "before|early|jumps"),
    ("a jump", lambda log: changed(log, "picked_up", at=Place(0.0, 0.0)), "jumps"),
    ("an offer stays open", lambda log: changed(log, "expired", ms=10**9), "stays open"),
    ("sweeper is late", left_with_the_lost, "long gone"),
    ("sweeper is wrong", taken_from_who_was_there, "who was there"),
    ("never placed", lambda log: without(log, "placed"), "after nothing"),
]


def test_a_whole_city_passes(city: City) -> None:
    check(city.log, city.orders, PLAN)
    kinds = {entry.kind for entry in city.log}
    assert {"declined", "expired", "withdrawn", "gone", "reassigned", "cancelled", "delivered"} <= kinds


@pytest.mark.parametrize(("break_", "says"), [each[1:] for each in BREAKS], ids=[each[0] for each in BREAKS])
def test_each_rule_is_found_broken(city: City, break_: Callable[[Log], Log], says: str) -> None:
    with pytest.raises(BrokenCity, match=says):
        check(break_(list(city.log)), city.orders, PLAN)


def test_who_is_cancelled_on_the_way_goes_on_from_there(city: City) -> None:
    """He is neither where he accepted nor where he would have gone, and his next offer finds him there."""
    found = 0
    for n, entry in enumerate(city.log):
        if entry.kind != "withdrawn":
            continue
        mine = [each for each in city.log[:n] if each.courier_id == entry.courier_id]
        after = next((each for each in city.log[n + 1 :] if each.courier_id == entry.courier_id), None)
        if mine[-1].kind == "accepted" and mine[-1].at != entry.at and after is not None:
            assert after.at == entry.at
            found += entry.at != city.orders[entry.order_id or 0].task.pick_up
    assert found > 0
