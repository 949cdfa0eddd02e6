"""Latecomers: fixed patience, one try per sighting, no retrying until the number is right."""

from __future__ import annotations

import importlib

import pytest

from doorbuster.lab.stampede import Ack, Ledger, Plan, latecomers, rush, verify
from lab.stampede_shop import Faults, Shop, crowd, plan_for

module = importlib.import_module("doorbuster.lab.stampede.latecomers")  # the package exports the function


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """People ten times as fast, so that the tests are."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(module, "REACTION_S_MAX", 0.05)


async def after_the_rush(shop: Shop, people: int) -> tuple[Plan, Ledger]:
    plan = plan_for(shop)
    await rush(plan, crowd(people), ledger := Ledger())
    return plan, ledger


async def test_released_units_go_to_people_who_were_refused():
    claims: list[Ack] = []
    with Shop(units=4) as shop:
        plan, ledger = await after_the_rush(shop, 40)
        for order_id in list(shop.orders)[:3]:
            shop.release(order_id)
        late = await latecomers(plan, ledger.empty_handed(), 1.0, claims.append, ledger=ledger)
        verdict = await verify(plan, ledger)
    assert (late.people, late.claimed, late.went_home) == (36, 3, 33)
    assert late.tries == late.claimed + sum(late.refused_by_slug.values())
    assert len({ack.buyer.customer_id for ack in claims}) == 3
    assert verdict.ok
    assert (verdict.active_units, verdict.released_orders) == (4, 3)


async def test_nobody_tries_while_there_is_nothing_and_everybody_goes_home_after_the_window():
    with Shop(units=1) as shop:
        plan, ledger = await after_the_rush(shop, 30)
        late = await latecomers(plan, ledger.empty_handed(), 0.5, ledger=ledger)
    assert (late.people, late.tries, late.claimed, late.went_home) == (29, 0, 0, 29)
    assert late.looks >= 2
    assert late.duration_s < 3


async def test_patience_is_a_number_of_tries_each_with_a_fresh_key():
    with Shop(units=1, faults=Faults(always=(409, "sold-out"))) as shop:
        shop.limit = 0  # refuses everybody, while the sale shows a unit
        late = await latecomers(plan_for(shop), crowd(3), 30.0)
    assert (late.tries, late.sold_out) == (3 * module.TRIES_MAX, 3 * module.TRIES_MAX)
    assert len({key for key, _ in shop.claims_seen}) == late.tries
    assert late.duration_s < 20


async def test_a_try_of_unknown_outcome_is_repeated_with_its_own_key():
    with Shop(units=2, faults=Faults(drop_reply=lambda number: number == 1)) as shop:
        late = await latecomers(plan_for(shop), crowd(1), 5.0, ledger=(ledger := Ledger()))
    assert (late.tries, late.unknown, late.claimed) == (2, 1, 1)
    assert len({key for key, _ in shop.claims_seen}) == 1
    assert (len(ledger), ledger.doubts()) == (1, [])


async def test_who_has_reached_the_limit_and_who_finds_the_sale_closed_goes_home():
    with Shop(units=5) as shop:
        plan, _ = await after_the_rush(shop, 1)
        limited = await latecomers(plan, crowd(1), 30.0)
        shop.closed = True
        closed = await latecomers(plan, crowd(5), 30.0)
    assert (limited.tries, limited.refused_by_slug) == (1, {"limit-reached": 1})
    assert (closed.looks, closed.tries) == (1, 0)


async def test_groups_share_a_watcher_and_a_crowd_beyond_the_bound_is_counted(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "PEOPLE_MAX", 60)
    with Shop(units=1) as shop:
        plan, _ = await after_the_rush(shop, 1)
        opened = shop.connections_opened
        late = await latecomers(plan, crowd(100), 0.4)
    assert (late.people, late.left_out) == (60, 40)
    assert shop.connections_opened - opened <= 3  # 60 people in groups of 25
