"""Deadlines are rows: found after a downtime of any length, fired once, and never against somebody who has paid."""

from __future__ import annotations

import asyncio

from contexts.orders.gate import all_at_once
from contexts.orders.ordering_shop import PAY_WITHIN_MS, OrderingShop, cancelled_event, shopper
from doorbuster.contexts.orders.expiry import FIRST_DOUBT_MS, PAGE
from doorbuster.contexts.orders.tables import orders
from doorbuster.contracts.orders import OrderPaid
from doorbuster.contracts.payments import CLOSE_MAX
from doorbuster.kernel.errors import Unavailable

DAY_MS = 24 * 3600 * 1000


async def statuses(shop: OrderingShop) -> list[str]:
    return [row.status for row in await shop.rows(orders)]


async def test_before_the_deadline_nothing_expires_and_nobody_is_asked(shop: OrderingShop) -> None:
    order_id = await shop.place()
    shop.clock.advance(PAY_WITHIN_MS - 1)
    assert await shop.expiry.sweep() == 0
    assert await shop.status(order_id) == "pending_payment"
    assert shop.desk.asked == []


async def test_at_the_deadline_an_unpaid_order_is_cancelled_and_told(shop: OrderingShop) -> None:
    order_id = await shop.place()
    payment = shop.desk.open(order_id)
    shop.clock.advance(PAY_WITHIN_MS)
    assert await shop.expiry.sweep() == 1
    assert (await shop.history(order_id))[1:] == [("pending_payment", "cancelled", "deadline", "payment-deadline")]
    assert await shop.told() == [cancelled_event(order_id, "payment-deadline")]
    assert shop.desk.status[payment.id] == "cancelled"


async def test_an_order_expires_once_however_often_and_by_however_many_it_is_swept(shop: OrderingShop) -> None:
    order_ids = await shop.place_all(30)
    shop.clock.advance(PAY_WITHIN_MS)
    counts = await all_at_once([shop.expiry.sweep] * 5)
    assert sum(counts) == 30
    assert await shop.expiry.sweep() == 0
    assert sorted(event.aggregate_id for event in await shop.told()) == sorted(order_ids)


async def test_a_downtime_of_a_month_is_worked_off_in_pages(shop: OrderingShop) -> None:
    # Many share a deadline, so that pages end in the middle of one.
    early = await shop.place_all(PAGE + 7, pay_within_ms=1_000)
    spread = [await shop.place_all(20, pay_within_ms=2_000 + n) for n in range(10)]
    shop.clock.advance(30 * DAY_MS)
    not_due = await shop.place()
    count = len(early) + sum(map(len, spread))
    assert await shop.expiry.sweep() == count
    assert len(await shop.told()) == count
    assert max(map(len, shop.desk.asked)) <= min(PAGE, CLOSE_MAX)
    asked = [order_id for page in shop.desk.asked for order_id in page]
    assert len(asked) == len(set(asked)) == count
    assert await shop.status(not_due) == "pending_payment"
    assert set(await statuses(shop)) == {"cancelled", "pending_payment"}


async def test_who_paid_during_the_downtime_keeps_the_goods(shop: OrderingShop) -> None:
    paid, unpaid = await shop.place_all(2)
    captured = shop.desk.capture(shop.desk.open(paid))
    shop.clock.advance(DAY_MS)
    assert await shop.expiry.sweep() == 1
    assert (await shop.status(paid), await shop.status(unpaid)) == ("pending_payment", "cancelled")
    await shop.deliver(captured)
    assert await shop.expiry.sweep() == 0
    assert await shop.status(paid) == "paid"
    assert [type(event) for event in await shop.told(paid)] == [OrderPaid]


async def test_an_order_the_provider_cannot_speak_for_waits_and_holds_up_nobody(shop: OrderingShop) -> None:
    silent = await shop.place_all(PAGE, pay_within_ms=1_000)
    others = await shop.place_all(5)
    shop.desk.silent |= set(silent)
    shop.clock.advance(DAY_MS)
    assert await shop.expiry.sweep() == 5
    assert {await shop.status(order_id) for order_id in others} == {"cancelled"}
    assert await shop.status(silent[0]) == "pending_payment"
    shop.desk.silent.clear()
    assert await shop.expiry.sweep() == 0  # asked a moment ago
    shop.clock.advance(FIRST_DOUBT_MS)
    assert await shop.expiry.sweep() == PAGE
    assert set(await statuses(shop)) == {"cancelled"}


async def test_an_order_read_into_being_after_its_deadline_expires_too(shop: OrderingShop) -> None:
    claim = shop.claim()
    shop.clock.advance(DAY_MS)
    await shop.service.order(shopper(), claim.order_id)
    assert await shop.expiry.sweep() == 1
    assert await shop.status(claim.order_id) == "cancelled"


async def test_an_outage_of_the_desk_does_not_end_the_sweeping(shop: OrderingShop) -> None:
    order_id = await shop.place()
    shop.clock.advance(PAY_WITHIN_MS)
    asked = asyncio.Event()

    async def fail() -> None:
        asked.set()
        raise Unavailable("the payments database is not available")

    shop.desk.while_closing = fail
    sweeping = asyncio.create_task(shop.expiry.run())
    async with asyncio.timeout(5):
        await asked.wait()
    shop.desk.while_closing = None
    await asyncio.sleep(0)
    assert not sweeping.done()
    sweeping.cancel()
    assert await shop.expiry.sweep() == 1
    assert await shop.status(order_id) == "cancelled"
