"""Money given back by lines adds up to what was paid for them, whoever asks and in however many steps."""

from __future__ import annotations

import msgspec
import pytest

from contexts.orders.ordering_shop import MERCHANT, OrderingShop
from doorbuster.contexts.orders.model import RefundAsked, RefundLine
from doorbuster.contracts.orders import GoodsReturned, Line, Order, PaidLine, RefundInvalid, RefundRequested
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal

SELLER = Principal(MERCHANT, "merchant")


def units(*pairs: tuple[int, int], restock: bool = False) -> RefundAsked:
    return RefundAsked(tuple(RefundLine(n, quantity) for n, quantity in pairs), None, restock, "")


async def paid_order(shop: OrderingShop, discount: int) -> Order:
    """Three of the same for 10.00 each, nothing for shipping."""
    draft = shop.draft(discount=discount)
    tea = Line(9, "Tea", 3, Money(1000, "CNY"))
    (order,) = await shop.service.place_many([msgspec.structs.replace(draft, lines=(tea,), shipping=Money(0, "CNY"))])
    assert isinstance(order, Order)
    await shop.deliver(shop.desk.capture(shop.desk.open(order.id, amount=order.total)))
    return order


@pytest.mark.parametrize("discount", [0, 1, 2, 100, 101, 1501])
async def test_line_by_line_exactly_all_of_it_goes_back(shop: OrderingShop, discount: int) -> None:
    order = await paid_order(shop, discount)
    await shop.service.send_off(order.id, "delivery", "parcel 1")
    for n in range(3):
        after = await shop.service.refund(SELLER, order.id, f"k{n}", units((1, 1)))
        assert after.status == ("shipped" if n < 2 else "refunding")
    row = await shop.row(order.id)
    assert row.refunded_amount == row.total_amount
    asked = [event for event in await shop.told(order.id) if isinstance(event, RefundRequested)]
    assert sum(event.amount.amount for event in asked) == order.total.amount
    assert max(e.amount.amount for e in asked) - min(e.amount.amount for e in asked) <= 1


async def test_a_unit_is_not_refunded_twice_and_the_refusal_writes_nothing(shop: OrderingShop) -> None:
    order = await paid_order(shop, 100)
    await shop.service.refund(SELLER, order.id, "a", units((1, 2)))
    before = await shop.everything()
    with pytest.raises(RefundInvalid):
        await shop.service.refund(SELLER, order.id, "b", units((1, 2)))
    assert await shop.everything() == before


async def test_a_whole_refund_with_restock_returns_what_is_left_of_the_units(shop: OrderingShop) -> None:
    order = await paid_order(shop, 0)
    await shop.service.send_off(order.id, "delivery", "parcel 1")
    await shop.service.refund(SELLER, order.id, "a", units((1, 1), restock=True))
    after = await shop.service.refund(SELLER, order.id, "b", RefundAsked((), 2000, True, "all back"))
    assert after.status == "refunding"
    returned = [event for event in await shop.told(order.id) if isinstance(event, GoodsReturned)]
    assert [event.lines for event in returned] == [(PaidLine(9, 1),), (PaidLine(9, 2),)]


@pytest.mark.parametrize("role", ["merchant", "support"])
async def test_who_sells_may_refund_also_what_they_bought_themselves(shop: OrderingShop, role: str) -> None:
    own = Principal(MERCHANT, role)
    draft = shop.draft(customer_id=MERCHANT)
    (order,) = await shop.service.place_many([draft])
    assert isinstance(order, Order)
    await shop.deliver(shop.desk.capture(shop.desk.open(order.id, MERCHANT, order.total)))
    await shop.service.send_off(order.id, "delivery", "parcel 1")
    after = await shop.service.refund(own, order.id, "k", RefundAsked((), order.total.amount, False, ""))
    assert after.status == "refunding"
