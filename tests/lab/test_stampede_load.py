"""The load: open loop, bounded, and every click accounted for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from doorbuster.lab.stampede import GeneratorFaultError, Ledger, Progress, UnreachableError, run, rush
from doorbuster.lab.stampede.calibrate import calibrate
from doorbuster.lab.stampede.tally import Tally
from lab.stampede_shop import Faults, Shop, crowd, plan_for


async def test_an_honest_sale_sells_exactly_its_units_and_the_report_is_ok():
    with Shop(units=10) as shop:
        report = await run(plan_for(shop), crowd(60))
    assert report.ok
    assert (report.sent, report.claimed, report.sold_out) == (60, 10, 50)
    assert (report.errors, report.unknown, report.lost, report.phantom, report.oversold) == (0, 0, 0, 0, 0)
    assert report.refused_by_slug == {"sold-out": 50}
    assert report.sale_units == report.active_units == 10


async def test_a_stall_of_the_server_shows_in_the_p99_although_few_requests_were_in_it():
    with Shop(units=1000, faults=Faults(stall_at=300, stall_s=1.0)) as shop:
        load = await rush(plan_for(shop, rate_per_s=400.0, connections=4), crowd(800), Ledger())
    # At most 4 of 800 requests (0.5 %) were with the server when it stood still; a generator that waits for
    # replies before it sends would have a p99 that knows nothing of it.
    assert load.answered == 800
    assert load.p99_ms > 800
    assert load.max_ms > 900


async def test_double_clicks_use_the_same_key_on_another_connection_and_count_once():
    with Shop(units=100) as shop:
        report = await run(plan_for(shop, double_click_share=1.0, connections=100), crowd(50))
    used: dict[str, list[int]] = {}
    for key, connection in shop.claims_seen:
        used.setdefault(key, []).append(connection)
    assert len(used) == 50
    assert all(len(connections) == 2 == len(set(connections)) for connections in used.values())
    assert (report.sent, report.claimed, report.replayed, report.phantom) == (100, 50, 50, 0)
    assert report.ok


async def test_cheats_come_back_with_a_second_key_and_meet_the_limit():
    with Shop(units=100) as shop:
        report = await run(plan_for(shop, cheat_share=1.0), crowd(40))
    assert report.ok
    assert (report.claimed, report.limited, report.sent) == (40, 40, 80)


async def test_connections_stay_within_their_bound_while_the_server_hangs():
    gate = threading.Event()
    with Shop(units=100, faults=Faults(hang_until=gate)) as shop:
        loading = asyncio.create_task(rush(plan_for(shop, connections=5), crowd(60), Ledger()))
        await asyncio.sleep(0.3)
        gate.set()
        load = await loading
    assert shop.connections_most == 5
    assert (load.claimed, load.errors, load.unknown) == (60, 0, 0)


async def test_what_does_not_fit_the_queue_is_an_error_with_its_reason():
    gate = threading.Event()
    with Shop(units=100, faults=Faults(hang_until=gate)) as shop:
        plan = plan_for(shop, connections=2, waiting=3)
        loading = asyncio.create_task(rush(plan, crowd(40), Ledger()))
        await asyncio.sleep(0.3)
        gate.set()
        load = await loading
    assert (load.arrived, load.sent, load.not_sent, load.claimed) == (40, 5, 35, 5)
    assert load.errors_by_reason == {"queue-full": 35}


async def test_who_gets_no_connection_in_time_was_never_sent_and_who_gets_no_reply_is_unknown():
    with Shop(units=100, faults=Faults(mute=lambda number: True)) as shop:
        load = await rush(plan_for(shop, connections=2, timeout_s=0.2), crowd(20), ledger := Ledger())
    assert load.unknown_by_reason == {"timeout": load.sent}
    assert load.errors_by_reason == {"no-connection-in-time": 20 - load.sent}
    assert len(ledger.doubts()) == load.sent >= 2
    assert load.max_ms >= 200


async def test_a_server_that_closes_connections_gets_new_ones():
    with Shop(units=100, faults=Faults(close_every=3)) as shop:
        report = await run(plan_for(shop, connections=4), crowd(60))
    assert report.ok
    assert (report.claimed, report.unknown_seen, report.errors) == (60, 0, 0)
    assert shop.connections_opened > 20
    assert shop.connections_most <= 4 + 1  # the server may see a closed one go a moment later


async def test_a_server_that_crashes_and_comes_back_leaves_unknowns_that_are_all_resolved():
    with Shop(units=100, faults=Faults(crash_at=20, crash_s=0.3)) as shop:
        report = await run(plan_for(shop, rate_per_s=200.0, connections=4), crowd(100))
    assert report.ok
    assert 1 <= report.unknown_seen <= 4
    assert report.unknown_by_reason == {"connection-lost": report.unknown_seen}
    assert (report.claimed, report.errors, len(shop.orders)) == (100, 0, 100)
    assert report.max_ms >= 200, "who arrived during the outage waited, and it shows"


async def test_a_double_click_has_to_share_the_only_connection():
    with Shop(units=100) as shop:
        load = await rush(plan_for(shop, double_click_share=1.0, connections=1), crowd(10), Ledger())
    assert (load.claimed, load.replayed, shop.connections_most) == (10, 10, 1)


def test_a_click_without_an_outcome_is_a_fault_of_the_generator():
    tally = Tally()
    tally.arrived = 1
    with pytest.raises(GeneratorFaultError, match="1 clicks, 0 ended"):
        tally.rush(1.0, 1.0)


async def test_calibration_measures_against_a_sink_in_its_own_process():
    load = await calibrate(rate_per_s=500.0, duration_s=0.2)
    assert (load.arrived, load.claimed, load.errors, load.unknown) == (100, 100, 0, 0)


async def test_more_arrivals_than_buyers_come_round_again_with_fresh_keys():
    with Shop(units=100, limit=3) as shop:
        load = await rush(plan_for(shop, arrivals=40), crowd(10), Ledger())
    assert (load.claimed, load.refused_by_slug) == (30, {"limit-reached": 10})


async def test_a_repeated_run_does_not_replay_the_first_unless_told_to():
    with Shop(units=100, limit=2) as shop:
        first = await rush(plan_for(shop), crowd(10), Ledger(), run_id="a")
        again = await rush(plan_for(shop), crowd(10), Ledger(), run_id="a")
        other = await rush(plan_for(shop), crowd(10), Ledger())
    assert (first.claimed, again.claimed, other.claimed) == (10, 10, 10)
    assert len(shop.orders) == 20


async def test_progress_comes_while_it_runs_and_ends_with_the_final_count():
    seen: list[Progress] = []
    with Shop(units=5) as shop:
        await run(plan_for(shop, duration_s=0.7), crowd(50), seen.append)
    assert len(seen) >= 3
    assert [p.arrived for p in seen] == sorted(p.arrived for p in seen)
    last = seen[-1]
    assert (last.arrived, last.sent, last.claimed, last.sold_out, last.in_flight) == (50, 50, 5, 45, 0)


async def test_a_view_that_fails_ends_the_run_and_is_not_swallowed():
    def broken(progress: Progress) -> None:
        raise KeyError("view")

    with Shop() as shop, pytest.raises(ExceptionGroup) as raised:
        await rush(plan_for(shop, duration_s=5.0), crowd(50), Ledger(), broken)
    assert raised.group_contains(KeyError)


async def test_a_cancelled_run_leaves_no_task_and_no_connection_behind():
    before = asyncio.all_tasks()
    with Shop() as shop:
        loading = asyncio.create_task(rush(plan_for(shop, duration_s=30.0), crowd(50), Ledger()))
        await asyncio.sleep(0.2)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        await asyncio.sleep(0.2)
        assert shop.connections_now == 0
    assert asyncio.all_tasks() == before


async def test_nobody_listening_is_a_typed_error_at_once():
    with Shop() as shop:
        plan = plan_for(shop)
    with pytest.raises(UnreachableError):
        await run(plan, crowd(3))
