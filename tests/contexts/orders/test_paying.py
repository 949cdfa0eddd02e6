"""Opening a payment: of one's own order, for its total, while it may be paid. Whatever is refused writes nothing."""

from __future__ import annotations

import pytest

from contexts.orders.gate import all_at_once, of_type
from contexts.orders.ordering_shop import PAY_WITHIN_MS, PRICE, OrderingShop, shopper
from doorbuster.contracts.orders import OrderNotFound, OrderNotPayable, PaymentMismatch
from doorbuster.contracts.payments import Payment, PaymentOpen
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal


async def test_ones_own_order_can_be_paid_for_its_total(shop: OrderingShop) -> None:
    order_id = await shop.place()
    payment = await shop.service.pay(shopper(), order_id, "k", PRICE)
    assert (payment.order_id, payment.customer_id, payment.amount) == (order_id, 1, PRICE)
    assert await shop.status(order_id) == "pending_payment"


async def test_an_order_can_be_paid_before_its_event_came(shop: OrderingShop) -> None:
    claim = shop.claim()
    payment = await shop.service.pay(shopper(), claim.order_id, "k", PRICE)
    await shop.deliver(shop.desk.capture(payment))
    assert await shop.status(claim.order_id) == "paid"


@pytest.mark.parametrize(
    "amount", [Money(1989, "CNY"), Money(1991, "CNY"), Money(1990, "USD"), Money(0, "CNY"), Money(-1990, "CNY")]
)
async def test_another_amount_or_currency_is_a_mismatch_and_opens_nothing(shop: OrderingShop, amount: Money) -> None:
    order_id = await shop.place()
    await refused(shop, PaymentMismatch, shopper(), order_id, amount)


@pytest.mark.parametrize(
    "other", [shopper(2), Principal(0, "customer"), Principal(5, "support"), Principal(6, "admin")]
)
async def test_nobody_pays_somebody_elses_order(shop: OrderingShop, other: Principal) -> None:
    order_id = await shop.place(customer_id=1)
    await refused(shop, OrderNotFound, other, order_id, PRICE)


async def test_no_order_no_payment(shop: OrderingShop) -> None:
    await refused(shop, OrderNotFound, shopper(), 404, PRICE)


async def refused(
    shop: OrderingShop, error: type[ShopError], who: Principal, order_id: int, amount: Money, key: str = "k"
) -> None:
    """Asserts that the payment is refused, and on the rows."""
    before, opened = await shop.everything(), dict(shop.desk.of_key)
    with pytest.raises(error):
        await shop.service.pay(who, order_id, key, amount)
    assert await shop.everything() == before
    assert shop.desk.of_key == opened


async def test_after_the_deadline_nothing_can_be_opened_although_nobody_has_swept_yet(shop: OrderingShop) -> None:
    order_id = await shop.place()
    shop.clock.advance(PAY_WITHIN_MS)
    await refused(shop, OrderNotPayable, shopper(), order_id, PRICE)


async def test_a_paid_or_cancelled_order_cannot_be_paid_under_another_key(shop: OrderingShop) -> None:
    paid, _ = await shop.place_and_pay()
    cancelled = await shop.place()
    await shop.service.cancel(shopper(), cancelled)
    for order_id in (paid, cancelled):
        await refused(shop, OrderNotPayable, shopper(), order_id, PRICE, key="another")


async def test_the_same_key_gets_its_answer_again_also_when_the_order_has_moved_on(shop: OrderingShop) -> None:
    order_id = await shop.place()
    first = await shop.service.pay(shopper(), order_id, "k", PRICE)
    assert await shop.service.pay(shopper(), order_id, "k", PRICE) == first
    await shop.deliver(shop.desk.capture(first))
    assert await shop.service.pay(shopper(), order_id, "k", PRICE) == first
    shop.clock.advance(10 * PAY_WITHIN_MS)
    assert await shop.service.pay(shopper(), order_id, "k", PRICE) == first


async def test_many_payers_behind_a_gate_open_one_payment(shop: OrderingShop) -> None:
    order_id = await shop.place()
    outcomes = await all_at_once(
        [lambda key=f"k{n % 4}": shop.service.pay(shopper(), order_id, key, PRICE) for n in range(20)]
    )
    assert len({payment.id for payment in of_type(outcomes, Payment)}) == len(shop.desk.of_key) == 1
    assert {type(outcome) for outcome in outcomes} == {Payment, PaymentOpen}
