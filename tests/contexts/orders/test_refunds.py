"""Money of an order goes back in parts or whole, never more than was paid; its goods and books follow."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from contexts.orders.gate import all_at_once, of_type
from contexts.orders.ordering_shop import MERCHANT, OrderingShop, shopper
from doorbuster.contexts.orders.model import RefundAsked, RefundLine
from doorbuster.contexts.orders.tables import orders, refund_lines, refunds
from doorbuster.contracts.delivery import OrderDeclined
from doorbuster.contracts.inventory import HoldLost
from doorbuster.contracts.orders import (
    GoodsReturned,
    Order,
    OrderCancelled,
    OrderCompleted,
    OrderNotCancellable,
    OrderNotCompletable,
    OrderNotFound,
    OrderNotRefundable,
    OrderNotShippable,
    OrderPartlyRefunded,
    OrderRefunded,
    OrderShipped,
    PaidLine,
    RefundInvalid,
    RefundRequested,
    RefundTooLarge,
)
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.sql.errors import RowRejected

SELLER = Principal(MERCHANT, "merchant")
SUPPORT = Principal(5, "support")
TOTAL = 2 * 1990 + 500 + 300
DAY_MS = 24 * 3_600_000


def asked(*units: tuple[int, int], amount: int | None = None, restock: bool = False) -> RefundAsked:
    return RefundAsked(tuple(RefundLine(*line) for line in units), amount, restock, "it was broken")


async def told_after(shop: OrderingShop, order_id: int, count: int) -> list[Any]:
    return (await shop.told(order_id))[count:]


async def test_a_part_of_the_money_goes_back_and_the_order_goes_on(shop: OrderingShop):
    order, payment = await shop.ordered()
    after = await shop.service.refund(SELLER, order.id, "k", asked((1, 1)))
    assert (after.status, after.refunded) == ("paid", Money(1990, "CNY"))
    (row,) = await shop.rows(refunds)
    assert (row.n, row.amount, row.cause, row.actor, row.restock) == (1, 1990, "refund 1", f"account {MERCHANT}", False)
    assert [(line.line, line.quantity) for line in await shop.rows(refund_lines)] == [(1, 1)]
    assert await told_after(shop, order.id, 2) == [
        RefundRequested(order.id, payment.id, Money(1990, "CNY"), "refund 1")
    ]
    await shop.deliver(shop.desk.refund(payment, "refund 1", Money(1990, "CNY"), whole=False))
    assert await told_after(shop, order.id, 3) == [OrderPartlyRefunded(order.id, 1, 1, Money(1990, "CNY"))]
    assert await shop.status(order.id) == "paid"
    assert {check.verdict for check in await shop.service.audit()} == {"holds"}


async def test_a_key_refunds_once(shop: OrderingShop):
    order, _ = await shop.ordered()
    await all_at_once([lambda: shop.service.refund(SELLER, order.id, "k", asked(amount=100))] * 8)
    assert (await shop.row(order.id)).refunded_amount == 100
    assert len(await shop.rows(refunds)) == 1
    with pytest.raises(IdempotencyKeyReused):
        await shop.service.refund(SELLER, order.id, "k", asked(amount=101))


async def test_never_more_than_was_paid_however_many_ask_at_once(shop: OrderingShop):
    order, _ = await shop.ordered()
    outcomes = await all_at_once(
        [lambda n=n: shop.service.refund(SUPPORT, order.id, f"k{n}", asked(amount=1000)) for n in range(12)]
    )
    assert len(of_type(outcomes, Order)) == 4
    assert len(of_type(outcomes, RefundTooLarge)) == 8
    assert (await shop.row(order.id)).refunded_amount == 4000
    assert [row.n for row in await shop.rows(refunds)] == [1, 2, 3, 4]


async def test_units_are_refunded_once(shop: OrderingShop):
    order, _ = await shop.ordered()
    outcomes = await all_at_once(
        [lambda n=n: shop.service.refund(SELLER, order.id, f"k{n}", asked((2, 1), amount=1)) for n in range(6)]
    )
    assert len(of_type(outcomes, Order)) == 1
    assert len(of_type(outcomes, RefundInvalid)) == 5
    assert (await shop.row(order.id)).refunded_amount == 1


@pytest.mark.parametrize(
    "wrong",
    [
        asked(),
        asked((3, 1)),
        asked((1, 3)),
        asked((1, 1), (1, 1)),
        asked(amount=5, restock=True),
    ],
)
async def test_a_refund_that_means_nothing_writes_nothing(shop: OrderingShop, wrong: RefundAsked):
    order, _ = await shop.ordered()
    before = await shop.everything()
    with pytest.raises(RefundInvalid):
        await shop.service.refund(SELLER, order.id, "k", wrong)
    assert await shop.everything() == before
    await shop.service.refund(SELLER, order.id, "k", asked(amount=1))


@pytest.mark.parametrize("who", [shopper(), shopper(2), Principal(MERCHANT + 1, "merchant"), Principal(1, "guest")])
async def test_who_does_not_sell_does_not_refund(shop: OrderingShop, who: Principal):
    order, _ = await shop.ordered()
    before = await shop.everything()
    with pytest.raises(OrderNotFound):
        await shop.service.refund(who, order.id, "k", asked(amount=1))
    assert await shop.everything() == before


async def test_a_discount_is_shared_by_the_lines(shop: OrderingShop):
    order, _ = await shop.ordered(discount=448)
    after = await shop.service.refund(SELLER, order.id, "k", asked((1, 2)))
    assert after.refunded == Money(3980 - 448 * 3980 // 4480, "CNY")


async def test_the_last_of_several_refunds_ends_the_order(shop: OrderingShop):
    order, payment = await shop.ordered()
    await shop.service.send_off(order.id, "delivery", "shipment 1")
    await shop.service.refund(SELLER, order.id, "a", asked((1, 2), restock=True))
    after = await shop.service.refund(SELLER, order.id, "b", asked(amount=800))
    assert (after.status, after.refunded.amount) == ("refunding", TOTAL)
    await shop.deliver(shop.desk.refund(payment, "refund 2", Money(800, "CNY"), whole=False))
    await shop.deliver(shop.desk.refund(payment, "refund 1", Money(3980, "CNY"), whole=True))
    assert await shop.status(order.id) == "refunded"
    told = await told_after(shop, order.id, 3)
    assert [type(event) for event in told] == [
        RefundRequested,
        GoodsReturned,
        RefundRequested,
        OrderPartlyRefunded,
        OrderRefunded,
    ]
    assert told[1] == GoodsReturned(order.id, 1, (PaidLine(9, 2),))
    assert {check.verdict for check in await shop.service.audit()} == {"holds"}


async def test_the_audit_is_told_the_units_that_were_not_returned(shop: OrderingShop):
    order, _ = await shop.ordered()
    other, _ = await shop.ordered()
    await shop.service.send_off(order.id, "delivery", "shipment 1")
    await shop.service.refund(SELLER, order.id, "a", asked((1, 1), restock=True))
    await shop.service.refund(SELLER, order.id, "b", asked((2, 1), restock=True))
    await shop.service.refund(SELLER, order.id, "c", asked((1, 1)))
    facts = {fact.order_id: fact.lines for fact in await shop.service.order_facts_of([order.id, other.id])}
    assert facts == {order.id: (PaidLine(9, 1),), other.id: (PaidLine(9, 2), PaidLine(10, 1))}
    paged = [fact async for page in shop.service.order_facts() for fact in page]
    assert {fact.order_id: fact.lines for fact in paged} == facts


async def test_a_cancelled_order_gives_back_what_was_not_given_back_before(shop: OrderingShop):
    order, payment = await shop.ordered()
    await shop.service.refund(SELLER, order.id, "k", asked((1, 1), restock=True))
    await shop.service.cancel(SELLER, order.id)
    told = await told_after(shop, order.id, 4)
    assert told == [
        OrderCancelled(order.id, 1, None, "merchant", True, (PaidLine(9, 1), PaidLine(10, 1))),
        RefundRequested(order.id, payment.id, Money(TOTAL - 1990, "CNY"), "merchant"),
    ]
    assert (await shop.row(order.id)).refunded_amount == TOTAL


async def test_an_order_that_is_refunded_whole_before_it_is_sent_off_gives_its_goods_back(shop: OrderingShop):
    order, _ = await shop.ordered()
    await shop.service.refund(SUPPORT, order.id, "k", asked(amount=TOTAL))
    requested, cancelled = await told_after(shop, order.id, 2)
    assert isinstance(requested, RefundRequested)
    assert cancelled == OrderCancelled(order.id, 1, None, "support", True, (PaidLine(9, 2), PaidLine(10, 1)))


async def test_units_of_a_sale_come_back_by_cancelling_not_by_a_part_refund(shop: OrderingShop):
    order_id, _ = await shop.place_and_pay()
    before = await shop.everything()
    with pytest.raises(RefundInvalid):
        await shop.service.refund(SELLER, order_id, "k", asked((1, 1), amount=1, restock=True))
    assert await shop.everything() == before


async def test_refund_against_send_off_has_one_winner(shop: OrderingShop):
    for _ in range(8):
        order, _ = await shop.ordered()
        outcomes = await all_at_once(
            [
                lambda order=order: shop.service.send_off(order.id, "delivery", "shipment"),
                lambda order=order: shop.service.cancel(shopper(), order.id),
            ]
        )
        refused = of_type(outcomes, OrderNotShippable) + of_type(outcomes, OrderNotCancellable)
        assert len(refused) == 1
        kinds = {type(event) for event in await shop.told(order.id)}
        assert (OrderShipped in kinds) != (OrderCancelled in kinds)
        assert await shop.status(order.id) == ("shipped" if OrderShipped in kinds else "refunding")


async def test_part_against_whole_refund_gives_back_the_total(shop: OrderingShop):
    for n in range(8):
        order, _ = await shop.ordered()
        await all_at_once(
            [
                lambda order=order, n=n: shop.service.refund(SELLER, order.id, f"k{n}", asked(amount=300)),
                lambda order=order: shop.service.cancel(shopper(), order.id),
            ]
        )
        asked_back = [event for event in await shop.told(order.id) if isinstance(event, RefundRequested)]
        assert sum(event.amount.amount for event in asked_back) == TOTAL
        assert len({event.cause for event in asked_back}) == len(asked_back)
    assert (await shop.checks())["refunds add up"].verdict == "holds"


async def test_sending_off_again_for_the_same_cause_changes_nothing_and_for_another_is_refused(shop: OrderingShop):
    order, _ = await shop.ordered("takeout")
    assert (await shop.service.send_off(order.id, "courier 7", "task 1")).status == "delivering"
    before = await shop.everything()
    assert (await shop.service.send_off(order.id, "courier 7", "task 1")).status == "delivering"
    with pytest.raises(OrderNotShippable):
        await shop.service.send_off(order.id, "courier 8", "task 2")
    with pytest.raises(OrderNotFound):
        await shop.service.send_off(404, "courier 8", "task 2")
    assert await shop.everything() == before


async def test_an_unpaid_order_is_not_sent_off(shop: OrderingShop):
    order_id = await shop.place()
    before = await shop.everything()
    with pytest.raises(OrderNotShippable):
        await shop.service.send_off(order_id, "delivery", "shipment 1")
    with pytest.raises(OrderNotCompletable):
        await shop.service.complete(order_id, "delivery", "delivered")
    assert await shop.everything() == before


async def test_a_parcel_is_received_by_its_customer_once(shop: OrderingShop):
    order, _ = await shop.ordered()
    await shop.service.send_off(order.id, "delivery", "shipment 1")
    with pytest.raises(Forbidden):
        await shop.service.receive(SELLER, order.id)
    assert await shop.status(order.id) == "shipped"
    await all_at_once([lambda: shop.service.receive(shopper(), order.id)] * 5)
    assert await shop.status(order.id) == "completed"
    assert [event for event in await shop.told() if isinstance(event, OrderCompleted)] == [
        OrderCompleted(order.id, 1, "received")
    ]
    back = await shop.service.refund(SUPPORT, order.id, "k", asked(amount=TOTAL))
    assert back.status == "refunding"


async def test_takeout_is_delivered_by_couriers_not_received_by_a_click(shop: OrderingShop):
    order, _ = await shop.ordered("takeout")
    await shop.service.send_off(order.id, "courier 7", "task 1")
    with pytest.raises(OrderNotCompletable):
        await shop.service.receive(shopper(), order.id)
    assert (await shop.service.complete(order.id, "courier 7", "delivered")).status == "completed"


async def test_a_parcel_nobody_confirms_counts_as_received_after_a_week_of_any_downtime(shop: OrderingShop):
    order, _ = await shop.ordered()
    await shop.service.send_off(order.id, "delivery", "shipment 1")
    shop.clock.advance(7 * DAY_MS - 1)
    assert await shop.completion.sweep() == 0
    shop.clock.advance(1)
    assert await shop.completion.sweep() == 1
    assert await shop.completion.sweep() == 0
    assert (await shop.history(order.id))[-1] == ("shipped", "completed", "deadline", "automatic")


async def test_an_order_paid_after_its_units_were_gone_gives_its_money_back_by_itself(shop: OrderingShop):
    order, payment = await shop.ordered()
    await shop.deliver(HoldLost(order.id, (9,)))
    await shop.deliver(HoldLost(order.id, (9,)))
    assert await shop.status(order.id) == "refunding"
    assert await told_after(shop, order.id, 2) == [
        OrderCancelled(order.id, 1, None, "out-of-stock", True, ()),
        RefundRequested(order.id, payment.id, order.total, "out-of-stock"),
    ]


async def test_takeout_that_its_merchant_declines_is_given_back_once(shop: OrderingShop):
    order, payment = await shop.ordered("takeout")
    await shop.deliver(OrderDeclined(order.id, MERCHANT, "no rice"), OrderDeclined(order.id, MERCHANT, "no rice"))
    assert await shop.status(order.id) == "refunding"
    assert await told_after(shop, order.id, 2) == [
        OrderCancelled(order.id, 1, None, "merchant", True, (PaidLine(9, 2), PaidLine(10, 1))),
        RefundRequested(order.id, payment.id, order.total, "merchant"),
    ]


async def test_a_refunded_order_has_nothing_more_to_give(shop: OrderingShop):
    order, _ = await shop.ordered()
    await shop.service.cancel(shopper(), order.id)
    before = await shop.everything()
    with pytest.raises(OrderNotRefundable):
        await shop.service.refund(SELLER, order.id, "k", asked(amount=1))
    assert await shop.everything() == before


async def test_the_database_knows_no_refund_above_the_total(shop: OrderingShop):
    order, _ = await shop.ordered()
    with pytest.raises(RowRejected):
        await shop.tamper(sa.update(orders).values(refunded_amount=TOTAL + 1))
    assert (await shop.row(order.id)).refunded_amount == 0
