"""The verdict: each planted fault is found, and nothing else is reported."""

from __future__ import annotations

import msgspec
import pytest

from doorbuster.lab.stampede import (
    Buyer,
    Ledger,
    Plan,
    Report,
    SaleUnreadableError,
    Verification,
    report_of,
    run,
    rush,
    verify,
)
from lab.stampede_shop import Faults, Shop, crowd, plan_for


def faults_of(report: Report | Verification) -> dict[str, int]:
    names = ("lost", "phantom", "oversold", "unknown", "unreadable")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


async def test_a_planted_oversell_is_reported_with_the_orders_beyond():
    with Shop(units=10, faults=Faults(oversell=True)) as shop:
        report = await run(plan_for(shop), crowd(13))
    assert not report.ok
    assert faults_of(report) == {"oversold": 3}
    assert len(report.oversold_ids) == 3 and set(report.oversold_ids) <= set(shop.orders)


async def test_an_acknowledged_order_that_is_not_there_is_lost():
    with Shop(units=10, faults=Faults(forget=lambda number: number == 4)) as shop:
        report = await run(plan_for(shop), crowd(10))
    assert not report.ok
    assert faults_of(report) == {"lost": 1}
    assert report.lost_ids == [f"{shop.forgotten[0]} (no such order)"]


async def test_an_order_short_of_units_is_lost():
    with Shop(units=10, limit=2, faults=Faults(short=True)) as shop:
        report = await run(plan_for(shop, quantity=2), crowd(2))
    assert faults_of(report) == {"lost": 2}
    assert "1 units instead of 2" in report.lost_ids[0]


async def test_the_lists_of_offenders_are_bounded_the_counts_are_not():
    with Shop(units=100, faults=Faults(forget=lambda number: True)) as shop:
        report = await run(plan_for(shop), crowd(50))
    assert (report.lost, len(report.lost_ids)) == (50, 20)


async def test_two_orders_for_one_key_are_a_phantom():
    with Shop(units=100, limit=2, faults=Faults(fork_keys=True)) as shop:
        report = await run(plan_for(shop, double_click_share=1.0), crowd(5))
    assert not report.ok
    assert faults_of(report) == {"phantom": 5}
    assert report.claimed == 5


async def test_a_customer_over_the_limit_is_a_phantom():
    with Shop(units=100, faults=Faults(ignore_limit=True)) as shop:
        report = await run(plan_for(shop, cheat_share=1.0), crowd(5))
    assert faults_of(report) == {"phantom": 5}
    assert "2 units, limit 1" in report.phantom_ids[0]


async def test_dropped_replies_are_unknown_until_asked_again_with_the_same_key():
    with Shop(units=10, faults=Faults(drop_reply=lambda number: number in (2, 5))) as shop:
        plan = plan_for(shop, double_click_share=0.0)
        load = await rush(plan, crowd(30), ledger := Ledger())
        assert load.unknown_by_reason == {"connection-lost": 2}
        assert (len(ledger), len(ledger.doubts())) == (8, 2)
        verdict = await verify(plan, ledger)
    assert verdict.ok
    assert (verdict.recovered, verdict.checked, len(ledger.doubts())) == (2, 10, 0)
    assert report_of(load, verdict).claimed == 10
    assert len(shop.orders) == 10, "asking again must not buy again"


async def test_a_reply_that_never_comes_is_unknown_and_then_recovered():
    with Shop(units=10, faults=Faults(mute=lambda number: number == 3)) as shop:
        report = await run(plan_for(shop, timeout_s=0.3), crowd(12))
    assert report.ok
    assert (report.unknown_seen, report.unknown_by_reason) == (1, {"timeout": 1})
    assert (report.recovered, report.claimed, report.sold_out) == (1, 10, 2)


async def test_an_unknown_that_was_refused_is_settled_too():
    with Shop(units=1, faults=Faults(drop_reply=lambda number: number == 2)) as shop:
        report = await run(plan_for(shop), crowd(2))
    assert report.ok
    assert (report.claimed, report.unknown_seen, report.recovered) == (1, 1, 0)


@pytest.mark.parametrize(
    "answer", [(503, "outcome-unknown"), (503, "overloaded"), (429, "rate-limited"), (500, "oops")]
)
async def test_too_busy_to_look_at_the_key_does_not_settle_a_doubt(answer: tuple[int, str]):
    with Shop(units=10, faults=Faults(drop_reply=lambda number: number == 1)) as shop:
        plan = plan_for(shop)
        await rush(plan, crowd(1), ledger := Ledger())
        shop.faults.always = answer
        verdict = await verify(plan, ledger, tries=2)
        assert not verdict.ok
        assert faults_of(verdict) == {"unknown": 1}
        assert answer[1] in verdict.problems[0]
        shop.faults.always = None
        assert (await verify(plan, ledger)).recovered == 1


async def test_released_units_may_be_sold_again_without_counting_twice():
    with Shop(units=3) as shop:
        plan = plan_for(shop)
        await rush(plan, crowd(6)[:3], ledger := Ledger())
        for order_id in list(shop.orders):
            shop.release(order_id)
        await rush(plan, crowd(6)[3:], ledger)
        verdict = await verify(plan, ledger)
    assert verdict.ok
    assert (verdict.checked, verdict.released_orders, verdict.active_units) == (6, 3, 3)


@pytest.mark.parametrize("went_back", [True, False])
async def test_a_refund_counts_as_released_only_if_the_claim_says_so(went_back: bool):
    with Shop(units=1, faults=Faults(oversell=True)) as shop:
        plan = plan_for(shop)
        await rush(plan, crowd(2), ledger := Ledger())
        first = next(iter(shop.orders.values()))
        first.status, first.released = "refunded", went_back
        verdict = await verify(plan, ledger)
    assert faults_of(verdict) == ({} if went_back else {"oversold": 1})


async def test_orders_that_cannot_be_read_are_neither_lost_nor_ok():
    with Shop(units=5) as shop:
        plan = plan_for(shop)
        await rush(plan, crowd(2), ledger := Ledger())
        shop.orders.clear()
        away = plan_for(shop, timeout_s=0.1)
    verdict = await verify(away, ledger, tries=1)
    assert not verdict.ok
    assert faults_of(verdict) == {"unreadable": 2}
    assert verdict.sale_units is None


async def test_patience_ends():
    with Shop(units=5) as shop:
        plan = plan_for(shop)
        await rush(plan, crowd(2), ledger := Ledger())
        verdict = await verify(plan, ledger, patience_s=-1.0)
    assert faults_of(verdict) == {"unreadable": 2}
    assert "patience" in verdict.problems[0]


async def test_another_customers_token_does_not_find_the_order():
    with Shop(units=5) as shop:
        plan = plan_for(shop)
        await rush(plan, crowd(1), Ledger())
        book = Ledger()
        book.acknowledged(Buyer("token-of-9", "9"), "k", next(iter(shop.orders)), 1)
        verdict = await verify(plan, book)
    assert faults_of(verdict) == {"lost": 1}


async def test_a_sale_that_does_not_exist_is_a_typed_error_before_anything_is_sent():
    with Shop() as shop:
        plan = Plan(base_url=shop.url, sale_id="404", duration_s=0.1)
        with pytest.raises(SaleUnreadableError) as raised:
            await run(plan, crowd(3))
    assert raised.value.status == 404
    assert not shop.claims_seen


async def test_the_report_is_one_flat_json_object_with_the_agreed_keys():
    with Shop(units=1) as shop:
        report = await run(plan_for(shop), crowd(3))
    keys = set(msgspec.json.decode(msgspec.json.encode(report)))
    agreed = {"ok", "sent", "claimed", "sold_out", "limited", "errors", "per_s", "p50_ms", "p99_ms", "lost"}
    agreed |= {
        "unknown",
        "phantom",
        "oversold",
        "duration_s",
        "p999_ms",
        "max_ms",
        "refused_by_slug",
        "client_cpu_s",
    }
    assert agreed <= keys
