"""Who is told of what: rows, exactly once, whatever comes twice or in another order."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from contexts.notifications.notifying_shop import (
    ANN,
    BEN,
    GUEST,
    PRICE,
    TEA_HOUSE,
    NotifyingShop,
    build_shop,
    cancelled_event,
    paid_event,
)
from doorbuster.contexts.notifications.model import Preferences
from doorbuster.contexts.notifications.service import streamed
from doorbuster.contexts.notifications.tables import messages, notices, streams
from doorbuster.contracts.accounts import AccountRegistered
from doorbuster.contracts.delivery import CourierAssigned, CourierCalledOff, OfferMade, OrderDelivered, ParcelSent
from doorbuster.contracts.orders import OrderCompleted, OrderPartlyRefunded, OrderPlaced, OrderRefunded, OrderShipped
from doorbuster.contracts.support import MessageSent
from doorbuster.kernel.money import Money
from doorbuster.kernel.places import Place
from doorbuster.platform.bus.tables import outbox


async def told(shop: NotifyingShop) -> set[tuple[int, str, str]]:
    """(recipient, kind, channel) of each message."""
    return {(row.recipient_id, row.kind, row.channel) for row in await shop.rows(messages)}


async def test_a_paid_order_is_told_to_both_sides(shop: NotifyingShop):
    await shop.paid()
    assert await told(shop) == {
        (101, "order-paid", "email"),
        (101, "order-paid", "push"),
        (201, "sold-order-paid", "push"),
    }
    assert {row.target for row in await shop.by("email")} == {"ann@example.org"}
    assert await shop.broken() == []


async def test_every_event_has_its_people(shop: NotifyingShop):
    order = shop.order()
    some = Money(5_00, "CNY")
    events = {
        "orders": [
            OrderPlaced(order.id, 101, 201, PRICE),
            paid_event(order),
            cancelled_event(order, was_paid=True),
            cancelled_event(order, was_paid=False),
            OrderRefunded(order.id, 101, 1, PRICE),
            OrderPartlyRefunded(order.id, 101, 1, some),
            OrderShipped(order.id, 101, "shipped"),
            OrderCompleted(order.id, 101, "received"),
        ],
        "delivery": [
            CourierAssigned(order.id, 101, 401),
            CourierCalledOff(order.id, 402),
            OfferMade(1, order.id, 401, shop.clock.now_ms() + 30_000, Place(31.2, 121.5)),
            ParcelSent(order.id, 101, "SF Express", "SF123"),
            OrderDelivered(order.id, 101, 401),
        ],
        "support": [MessageSent(9, 1, 102, 101, "Hello"), MessageSent(9, 1, 101, None, "Anybody?")],
        "accounts": [AccountRegistered(102, "customer", 0), AccountRegistered(999, "customer", 0)],
    }
    for source, of_source in events.items():
        await shop.tell(*(shop.envelope(event, source) for event in of_source))
    while await shop.built.addressing.step():
        pass
    assert {(recipient, kind) for recipient, kind, _ in await told(shop)} == {
        (101, "order-placed"),
        (101, "order-paid"),
        (201, "sold-order-paid"),
        (101, "order-cancelled"),
        (201, "sold-order-cancelled"),
        (101, "order-refunded"),
        (201, "sold-order-refunded"),
        (101, "order-partly-refunded"),
        (201, "sold-order-partly-refunded"),
        (101, "order-shipped"),
        (101, "order-completed"),
        (101, "courier-assigned"),
        (401, "offer-made"),
        (402, "courier-called-off"),
        (101, "parcel-sent"),
        (101, "order-delivered"),
        (101, "support-message"),
        (102, "welcome"),
    }
    assert {row.status for row in await shop.rows(notices)} == {"addressed"}
    cancellations = [row for row in await shop.rows(messages) if row.kind == "sold-order-cancelled"]
    assert len(cancellations) == 1, "of an order that was never paid its merchant has not heard"
    assert await shop.broken() == []


async def test_whatever_comes_twice_or_in_another_order_is_told_once(shop: NotifyingShop):
    orders = [shop.order(customer=who) for who in (ANN, BEN) for _ in range(5)]
    envelopes = [shop.envelope(paid_event(order)) for order in orders] * 3
    random.Random(7).shuffle(envelopes)
    for at in range(0, len(envelopes), 6):
        await shop.tell(*envelopes[at : at + 6])
        await asyncio.gather(*(shop.built.addressing.step() for _ in range(3)))
    rows = await shop.rows(messages)
    assert len(rows) == len(orders) * 3
    assert len({(row.seq, row.recipient_id, row.channel) for row in rows}) == len(rows)
    for account, count in ((101, 5), (102, 5), (201, 10)):
        numbers = sorted(row.number for row in rows if row.number is not None and row.account_id == account)
        assert numbers == list(range(1, count + 1))
    assert await shop.broken() == []


async def test_events_of_different_sources_with_one_number_are_two(shop: NotifyingShop):
    order = shop.order()
    await shop.tell(
        shop.envelope(paid_event(order), seq=7), shop.envelope(ParcelSent(order.id, 101, "SF", "1"), "delivery", seq=7)
    )
    await shop.built.addressing.step()
    assert {row.kind for row in await shop.by("email")} == {"order-paid", "parcel-sent"}


async def test_who_sells_to_themselves_is_told_once_by_each_channel(shop: NotifyingShop):
    await shop.paid(shop.order(customer=TEA_HOUSE, merchant=TEA_HOUSE))
    assert sorted(row.channel for row in await shop.rows(messages)) == ["email", "push"]
    (stream,) = await shop.rows(streams)
    assert stream.last == 1, "a number that nobody got is not missing"
    assert await shop.broken() == []


async def test_a_guest_is_written_to_where_the_order_says(shop: NotifyingShop):
    await shop.paid(shop.order(customer=GUEST, email="guest@example.net"))
    assert (await shop.only("email")).target == "guest@example.net"
    assert [pushed.number for pushed in (await shop.service.stream(GUEST, None, 10)).page.items] == [1]


NO_ADDRESSES = ["", "a@b\r\nBcc: x@y.z", "a b@c.d", "@x.y", "a@b@c", "x" * 300 + "@y.z", "x" * 65 + "@y.z"]
NO_ADDRESSES += ["a..b@x.org", ".a@x.org", "a.@x.org", "a@x..org", "a@.x", "a@-x.org", "a@x.org.", "a@x.org\n"]


@pytest.mark.parametrize("address", NO_ADDRESSES)
async def test_what_is_no_address_is_not_written_to(shop: NotifyingShop, address: str):
    await shop.paid(shop.order(customer=GUEST, email=address))
    assert not await shop.by("email")


async def test_preferences_decide(shop: NotifyingShop):
    await shop.service.prefer(ANN, Preferences("zh", {"order-paid": ("push",)}))
    await shop.service.prefer(TEA_HOUSE, Preferences("en", {"sold-order-paid": ()}))
    order = await shop.paid()
    assert await told(shop) == {(101, "order-paid", "push")}
    assert msgspec.json.decode((await shop.only("push")).content)["title"] == f"订单 {order.id} 已付款"


async def test_an_order_that_is_not_there_yet_is_waited_for_and_then_given_up(shop: NotifyingShop):
    order = shop.order()
    del shop.ordered.known[order.id]
    await shop.tell(shop.envelope(paid_event(order)), shop.envelope(MessageSent(9, 1, 102, 101, "Hi"), "support"))
    await shop.built.addressing.step()
    assert await told(shop) == {(101, "support-message", "push")}, "others do not wait for it"
    assert [row.status for row in await shop.rows(notices, notices.c.source == "orders")] == ["waiting"] * 2
    shop.ordered.known[order.id] = order
    shop.clock.advance(5_000)
    await shop.built.addressing.step()
    assert len(await told(shop)) == 4
    lost = shop.order()
    del shop.ordered.known[lost.id]
    await shop.tell(shop.envelope(cancelled_event(lost, was_paid=True)))
    for _ in range(12):
        shop.clock.advance(3_600_000)
        await shop.built.addressing.step()
    dead = await shop.rows(notices, notices.c.status == "dead")
    assert {(row.kind, row.attempts) for row in dead} == {("order-cancelled", 10), ("sold-order-cancelled", 10)}


async def test_the_stream_is_ones_own_and_marks_never_go_back(shop: NotifyingShop):
    for _ in range(5):
        await shop.paid()
    await shop.paid(shop.order(customer=BEN))
    mine = await shop.service.stream(ANN, None, 2)
    assert ([each.number for each in mine.page.items], mine.unread, mine.page.next_after) == ([5, 4], 5, 4)
    rest = await shop.service.stream(ANN, mine.page.next_after, 10)
    assert ([each.number for each in rest.page.items], rest.page.next_after) == ([3, 2, 1], None)
    assert (await shop.service.read(ANN, 3)).unread == 2
    assert (await shop.service.read(ANN, 1)).unread == 2, "a mark does not go back"
    assert (await shop.service.read(ANN, 2**53)).unread == 0, "nor beyond what is there"
    assert (await shop.service.stream(BEN, None, 10)).unread == 1, "nor to others"
    behind = [streamed(each) for each in await shop.service.pushed_after(101, 3, 10)]
    assert [(cursor, msgspec.json.decode(body)["number"]) for cursor, body in behind] == [(4, 4), (5, 5)]
    assert len(await shop.rows(outbox)) == 12, "each is announced to live streams"


async def test_what_is_old_is_deleted_and_counts_as_read(shop: NotifyingShop):
    await shop.paid()
    shop.clock.advance(91 * 86_400_000)
    await shop.paid()
    assert await shop.built.housekeeping.sweep() == 2, "what was never sent stays"
    assert sorted(row.channel for row in await shop.rows(messages)) == ["email", "email", "push", "push"]
    stream = await shop.service.stream(ANN, None, 10)
    assert ([each.number for each in stream.page.items], stream.unread) == ([2], 1)
    assert await shop.broken() == []


async def test_without_a_mail_server_there_are_no_letters(platform, clock, database):
    shop = build_shop(platform, clock, database, {"smtp_host": ""})
    await shop.paid()
    assert {row.channel for row in await shop.rows(messages)} == {"push"}
    await shop.close()
