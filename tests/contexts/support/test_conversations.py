"""Opening, writing, reading and closing, on rows."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from contexts.support.support_shop import ANN, BEN, EVA, FRITZ, GUEST, ROOT, SupportShop, view
from doorbuster.contexts.support.model import TEXT_MAX, Draft, Opening, excerpt
from doorbuster.contexts.support.tables import conversations, messages, people, turns
from doorbuster.contracts.support import (
    ConversationChanged,
    ConversationClosed,
    ConversationNotFound,
    ConversationRead,
    ConversationWaiting,
    MessageInvalid,
    MessageSent,
    TooManyConversations,
)
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.principal import Principal


async def test_a_conversation_begins_with_a_message_and_waits(shop: SupportShop):
    conversation = await shop.service.open(GUEST, "k", Opening("Hello 茶\nsecond line", "Tea", 77))
    assert view(conversation) == ("open", None, 1)
    assert await shop.texts(conversation.id) == [(1, GUEST.account_id, "Hello 茶\nsecond line")]
    row = await shop.row(conversation.id)
    assert (row.order_id, row.subject, row.customer_read, row.support_read) == (77, "Tea", 1, 0)
    assert await shop.told() == [
        ConversationChanged(conversation.id, "open", GUEST.account_id, None, (GUEST.account_id,)),
        MessageSent(conversation.id, 1, GUEST.account_id, None, "Hello 茶 second line"),
    ]
    assert await shop.broken() == []


async def test_the_same_key_opens_one_conversation(shop: SupportShop):
    opened = await asyncio.gather(*(shop.service.open(ANN, "k", Opening("Hello")) for _ in range(8)))
    assert len({each.id for each in opened}) == 1
    assert len(await shop.rows(conversations)) == 1
    assert await shop.open_of(ANN) == 1
    with pytest.raises(IdempotencyKeyReused):
        await shop.service.open(ANN, "k", Opening("Something else"))


async def test_a_customer_has_a_bounded_number_of_open_ones(shop: SupportShop):
    most = shop.platform.settings.support.open_per_customer_max
    opened = await asyncio.gather(*(shop.open(ANN) for _ in range(most + 3)), return_exceptions=True)
    assert sum(isinstance(each, TooManyConversations) for each in opened) == 3
    assert len(await shop.rows(conversations)) == len(await shop.rows(messages)) == most
    first = next(each for each in opened if isinstance(each, int))
    await shop.service.close(ANN, first)
    await shop.open(ANN)
    assert await shop.open_of(ANN) == most
    assert await shop.broken() == []


async def test_both_sides_write_and_numbers_have_no_gaps(shop: SupportShop):
    one = await shop.open_with()
    sent = await asyncio.gather(
        *(shop.say(ANN, one, f"a{n}") for n in range(10)), *(shop.say(EVA, one, f"e{n}") for n in range(10))
    )
    assert sorted(each.number for each in sent) == list(range(2, 22))
    assert [number for number, _, _ in await shop.texts(one)] == list(range(1, 22))
    told = [event for event in await shop.told() if isinstance(event, MessageSent)]
    assert {(event.from_account_id, event.to_account_id) for event in told[1:]} == {
        (ANN.account_id, EVA.account_id),
        (EVA.account_id, ANN.account_id),
    }
    assert len(told) == 21
    assert await shop.broken() == []


async def test_a_message_sent_again_is_one_message(shop: SupportShop):
    one = await shop.open_with()
    sent = await asyncio.gather(*(shop.say(ANN, one, "Hello?", "mine") for _ in range(8)))
    assert {each.number for each in sent} == {2}
    assert [number for number, _, _ in await shop.texts(one)] == [1, 2]
    assert (await shop.say(EVA, one, "Hi", "mine")).number == 3, "a client_id is its sender's own"
    with pytest.raises(IdempotencyKeyReused):
        await shop.say(ANN, one, "Other words", "mine")
    await shop.service.close(ANN, one)
    assert (await shop.say(ANN, one, "Hello?", "mine")).number == 2, "its answer may have been lost"
    with pytest.raises(ConversationClosed):
        await shop.say(ANN, one, "One more thing")
    assert [number for number, _, _ in await shop.texts(one)] == [1, 2, 3]


@pytest.mark.parametrize("text", ["", " \n\t ", "a\x00b", "x" * (TEXT_MAX + 1), "\u202egnirts", "\x1b[31m", "\ud800"])
async def test_what_is_no_message(shop: SupportShop, text: str):
    one = await shop.open_with()
    before = await shop.everything()
    with pytest.raises(MessageInvalid):
        await shop.say(ANN, one, text)
    with pytest.raises(MessageInvalid):
        await shop.service.open(BEN, "k", Opening(text))
    assert await shop.everything() == before


@pytest.mark.parametrize("client_id", ["", " ", "x" * 65, "ü", "a\n"])
async def test_what_is_no_client_id(shop: SupportShop, client_id: str):
    one = await shop.open_with()
    with pytest.raises(MessageInvalid):
        await shop.service.send(ANN, one, Draft(client_id, "Hello"))


async def test_marks_go_forward_and_count_what_is_unread(shop: SupportShop):
    one = await shop.open_with()
    for n in range(3):
        await shop.say(EVA, one, f"e{n}")
    conversation = await shop.service.conversation(ANN, one)
    assert (conversation.unread_by("customer"), conversation.unread_by("support")) == (3, 0)
    assert (await shop.service.read(ANN, one, 3)).unread_by("customer") == 1
    assert (await shop.service.read(ANN, one, 2)).unread_by("customer") == 1, "never back"
    with pytest.raises(MessageInvalid):
        await shop.service.read(ANN, one, 5)
    await shop.say(ANN, one, "I see")
    row = await shop.row(one)
    assert (row.customer_read, row.support_read, row.last_number) == (5, 4, 5)
    marks = [event for event in await shop.told() if isinstance(event, ConversationRead)]
    assert marks == [ConversationRead(one, "customer", 3)]


async def test_history_in_both_directions(shop: SupportShop):
    one = await shop.open_with()
    for n in range(2, 8):
        await shop.say(ANN, one, f"m{n}")

    async def page(after: int | None, before: int | None, limit: int) -> tuple[list[int], bool]:
        found, more = await shop.service.messages(EVA, one, after=after, before=before, limit=limit)
        return [each.number for each in found], more

    assert await page(None, None, 3) == ([5, 6, 7], True)
    assert await page(None, 5, 3) == ([2, 3, 4], True)
    assert await page(None, 2, 3) == ([1], False)
    assert await page(0, None, 3) == ([1, 2, 3], True)
    assert await page(5, None, 2) == ([6, 7], False)
    assert await page(7, None, 3) == ([], False)


async def test_closing_ends_it_for_both_and_again_changes_nothing(shop: SupportShop):
    one = await shop.open_with()
    closed = await shop.service.close(EVA, one)
    assert view(closed) == ("closed", EVA.account_id, 1)
    before = await shop.everything()
    assert await shop.service.close(ANN, one) == closed
    assert await shop.everything() == before
    assert await shop.agents(one) == [(EVA.account_id, "closed")]
    assert (await shop.open_of(ANN), await shop.open_of(EVA)) == (0, 0)
    assert await shop.broken() == []


async def test_closing_and_taking_at_once_ends_in_one_way(shop: SupportShop):
    for _ in range(5):
        one = await shop.open(ANN)
        await asyncio.gather(shop.service.close(ANN, one), shop.desk.take(EVA, one), return_exceptions=True)
        assert (await shop.row(one)).status == "closed"
    assert (await shop.open_of(ANN), await shop.open_of(EVA)) == (0, 0)
    assert await shop.broken() == []


NOBODYS = 999
STRANGERS = {
    "another customer": BEN,
    "a guest": GUEST,
    "another agent": FRITZ,
    "a customer with the agent's number": Principal(EVA.account_id, "customer"),
    "an agent with the customer's number": Principal(ANN.account_id, "support"),
}


@pytest.mark.parametrize("who", STRANGERS)
async def test_what_belongs_to_others_is_not_there(shop: SupportShop, who: str):
    stranger = STRANGERS[who]
    one = await shop.open_with(ANN, EVA)
    await shop.desk.queue(FRITZ, None, 10)
    before = await shop.everything()
    service, desk = shop.service, shop.desk
    for conversation_id in (one, NOBODYS):
        for attempt in (
            service.conversation(stranger, conversation_id),
            service.messages(stranger, conversation_id, after=0, before=None, limit=5),
            service.send(stranger, conversation_id, Draft("c", "Hello")),
            service.read(stranger, conversation_id, 1),
            service.close(stranger, conversation_id),
            desk.transfer(stranger, conversation_id, None),
            desk.transfer(stranger, conversation_id, FRITZ.account_id),
        ):
            with pytest.raises(ConversationNotFound):
                await attempt
    assert one not in {each.id for each in (await service.conversations(stranger, None, 10)).items}
    assert one not in await service.followed(stranger, [one, NOBODYS])
    assert await shop.everything() == before


async def test_agents_see_what_waits_and_admins_see_all_but_neither_writes_in_it(shop: SupportShop):
    waiting, taken = await shop.open(ANN), await shop.open_with(BEN, FRITZ)
    assert (await shop.service.conversation(EVA, waiting)).waits
    for conversation_id in (waiting, taken):
        assert (await shop.service.conversation(ROOT, conversation_id)).id == conversation_id
    before = await shop.everything()
    for who, conversation_id in ((EVA, waiting), (ROOT, waiting), (ROOT, taken)):
        for attempt in (
            shop.say(who, conversation_id, "Hello"),
            shop.service.read(who, conversation_id, 1),
            shop.service.close(who, conversation_id),
        ):
            with pytest.raises(ConversationWaiting):
                await attempt
    assert await shop.everything() == before


async def test_own_conversations_by_pages(shop: SupportShop):
    mine = [await shop.open(ANN) for _ in range(4)]
    await shop.open(BEN)
    first = await shop.service.conversations(ANN, None, 3)
    second = await shop.service.conversations(ANN, first.next_after, 3)
    assert [each.id for each in [*first.items, *second.items]] == sorted(mine, reverse=True)
    assert second.next_after is None


def test_an_excerpt_is_one_short_line():
    assert excerpt(" a\n\tb ") == "a b"
    assert len(excerpt("x" * 4000)) == 120
    assert excerpt("x" * 4000).endswith("…")


FORGERIES = {
    "messages are numbered without gaps": [sa.update(conversations).values(last_number=7)],
    "only those who take part have written": [sa.update(messages).values(sender_id=5)],
    "a conversation has one agent at most": [sa.update(conversations).values(agent_id=FRITZ.account_id)],
    "open conversations are counted right": [sa.delete(people)],
    "unanswered conversations return to the queue": [sa.update(conversations).values(unanswered_ms=1)],
}


@pytest.mark.parametrize("check", FORGERIES)
async def test_the_audit_notices(shop: SupportShop, check: str):
    await shop.open_with()
    await shop.open()
    assert await shop.broken() == []
    await shop.tamper(*FORGERIES[check])
    assert check in await shop.broken()
    assert (await shop.checks())[check].breaches


async def test_the_audit_notices_lost_messages_turns_and_counts(shop: SupportShop):
    await shop.open_with()
    await shop.tamper(sa.delete(messages), sa.delete(turns), sa.update(people).values(open=9))
    assert len(await shop.broken()) == 3


async def test_the_database_itself_refuses_a_second_agent(shop: SupportShop):
    one = await shop.open_with()
    with pytest.raises(ShopError):
        await shop.tamper(sa.insert(turns).values(conversation_id=one, n=2, agent_id=5, began_ms=1))
