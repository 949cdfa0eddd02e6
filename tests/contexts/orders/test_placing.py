"""An order is written once: by the consumer of the claim's event, or by whoever reads it before that came."""

from __future__ import annotations

import pytest

from contexts.orders.gate import all_at_once
from contexts.orders.ordering_shop import PRICE, SALE, OrderingShop, shopper
from doorbuster.contexts.orders.tables import lines, moves, orders
from doorbuster.contracts.flash_sale import ClaimAccepted
from doorbuster.contracts.orders import Order, OrderNotFound
from doorbuster.kernel.principal import Principal

BEGINNING = [(None, "pending_payment", "flash_sale", "claim")]


async def test_the_consumer_writes_the_order_that_the_claim_was_born_with(shop: OrderingShop) -> None:
    claim = shop.claim(customer_id=7, quantity=2)
    await shop.deliver(ClaimAccepted(claim))
    row = await shop.row(claim.order_id)
    assert (row.customer_id, row.sale_id, row.status, row.version) == (7, SALE, "pending_payment", 1)
    assert (row.total_amount, row.currency, row.pay_by_ms) == (3980, "CNY", claim.pay_by_ms)
    (line,) = await shop.rows(lines)
    assert (line.order_id, line.n, line.sku_id, line.title) == (claim.order_id, 1, 9, "Tea 茶")
    assert (line.quantity, line.unit_amount) == (2, PRICE.amount)
    assert await shop.history(claim.order_id) == BEGINNING


async def test_a_reader_before_the_consumer_finds_the_order_and_writes_it(shop: OrderingShop) -> None:
    claim = shop.claim(customer_id=7)
    order = await shop.service.order(shopper(7), claim.order_id)
    assert (order.id, order.total, order.status) == (claim.order_id, PRICE, "pending_payment")
    assert len(await shop.rows(orders)) == len(await shop.rows(lines)) == 1
    assert await shop.history(claim.order_id) == BEGINNING


async def test_the_consumer_after_the_reader_changes_nothing(shop: OrderingShop) -> None:
    claim = shop.claim()
    await shop.service.order(shopper(), claim.order_id)
    before = await shop.everything()
    await shop.deliver(ClaimAccepted(claim))
    assert await shop.everything() == before


async def test_the_consumer_after_a_payment_changes_nothing(shop: OrderingShop) -> None:
    claim = shop.claim()
    await shop.service.order(shopper(), claim.order_id)
    await shop.deliver(shop.desk.capture(shop.desk.open(claim.order_id)))
    before = await shop.everything()
    await shop.deliver(ClaimAccepted(claim))
    assert await shop.everything() == before
    assert await shop.status(claim.order_id) == "paid"


async def test_a_redelivered_event_changes_nothing_known_to_the_inbox_or_not(shop: OrderingShop) -> None:
    claim = shop.claim()
    seqs = shop.new_seqs(1)
    await shop.deliver_as(seqs, ClaimAccepted(claim))
    before = await shop.everything()
    await shop.deliver_as(seqs, ClaimAccepted(claim))
    await shop.deliver(ClaimAccepted(claim))
    assert await shop.everything() == before


async def test_readers_and_consumer_behind_a_gate_leave_one_order_each(shop: OrderingShop) -> None:
    claims = [shop.claim(customer_id=7) for _ in range(20)]

    async def consume() -> None:
        await shop.deliver(*(ClaimAccepted(claim) for claim in claims))

    readers = [
        lambda order_id=claim.order_id: shop.service.order(shopper(7), order_id) for claim in claims for _ in range(3)
    ]
    outcomes = await all_at_once([*readers[:30], consume, *readers[30:]])
    read = [outcome for outcome in outcomes if outcome is not None]
    assert all(isinstance(order, Order) and order.history for order in read)
    assert len(await shop.rows(orders)) == len(await shop.rows(lines)) == len(await shop.rows(moves)) == 20
    for claim in claims:
        assert await shop.history(claim.order_id) == BEGINNING


async def test_an_order_without_claim_does_not_exist(shop: OrderingShop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.service.order(shopper(), 404)
    assert await shop.rows(orders) == []


@pytest.mark.parametrize("other", [shopper(2), Principal(1_000_000, "merchant"), Principal(0, "customer")])
async def test_somebody_elses_order_does_not_exist(shop: OrderingShop, other: Principal) -> None:
    order_id = await shop.place(customer_id=1)
    with pytest.raises(OrderNotFound):
        await shop.service.order(other, order_id)


@pytest.mark.parametrize("role", ["support", "admin"])
async def test_support_and_admins_see_every_order(shop: OrderingShop, role: str) -> None:
    order_id = await shop.place(customer_id=1)
    assert (await shop.service.order(Principal(99, role), order_id)).customer_id == 1


async def test_the_list_is_ones_own_newest_first_in_pages(shop: OrderingShop) -> None:
    mine = await shop.place_all(7, customer_id=1)
    await shop.place_all(3, customer_id=2)
    seen: list[int] = []
    before: int | None = None
    for expected in (3, 3, 1):
        page = await shop.service.orders(shopper(1), before, 3)
        assert len(page.items) == expected
        assert all(order.lines[0].quantity == 1 and order.history == () for order in page.items)
        seen += [order.id for order in page.items]
        before = page.next_after
    assert before is None
    assert seen == sorted(mine, reverse=True)


async def test_a_page_that_ends_with_the_last_order_says_so(shop: OrderingShop) -> None:
    await shop.place_all(3)
    assert (await shop.service.orders(shopper(), None, 3)).next_after is None
    assert (await shop.service.orders(shopper(5), None, 3)).items == []


async def test_orders_that_come_in_while_somebody_pages_are_not_shown_twice(shop: OrderingShop) -> None:
    old = await shop.place_all(4)
    first = await shop.service.orders(shopper(), None, 2)
    await shop.place_all(3)
    second = await shop.service.orders(shopper(), first.next_after, 10)
    assert [order.id for order in (*first.items, *second.items)] == sorted(old, reverse=True)
