"""The queue: each conversation to one agent, and back when nobody answers."""

from __future__ import annotations

import asyncio

import pytest

from contexts.support.support_shop import ANN, BEN, EVA, FRITZ, ROOT, SupportShop, view
from doorbuster.contexts.support.desk import Desk
from doorbuster.contexts.support.tables import conversations
from doorbuster.contracts.support import (
    AgentBusy,
    AgentNotFound,
    ConversationChanged,
    ConversationClosed,
    ConversationNotFound,
    ConversationTaken,
    ConversationWaiting,
    QueueEmpty,
)
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.principal import Principal


def agents(count: int) -> list[Principal]:
    return [Principal(1000 + n, "support") for n in range(count)]


def customers(count: int) -> list[Principal]:
    return [Principal(5000 + n, "customer") for n in range(count)]


async def test_twenty_agents_and_ten_conversations(shop: SupportShop):
    opened = [await shop.open(who) for who in customers(10)]
    everybody = agents(20)
    gate = asyncio.Event()

    async def take(agent: Principal) -> int | None:
        await gate.wait()
        try:
            return (await shop.desk.take_next(agent)).id
        except QueueEmpty:
            return None

    takers = [asyncio.create_task(take(agent)) for agent in everybody]
    await asyncio.sleep(0)
    gate.set()
    taken = await asyncio.gather(*takers)
    assert sorted(each for each in taken if each is not None) == sorted(opened)
    by_rows = {row.id: row.agent_id for row in await shop.rows(conversations)}
    assert by_rows == {each: agent.account_id for agent, each in zip(everybody, taken, strict=True) if each is not None}
    for conversation_id in opened:
        assert len(await shop.agents(conversation_id)) == 1
    assert [await shop.open_of(agent) for agent in everybody] == [int(each is not None) for each in taken]
    assert await shop.broken() == []


async def test_who_has_waited_longest_comes_first(shop: SupportShop):
    opened = [await shop.open(who) for who in customers(3)]
    page = await shop.desk.queue(EVA, None, 2)
    rest = await shop.desk.queue(EVA, page.next_after, 2)
    assert [each.id for each in [*page.items, *rest.items]] == opened
    assert [(await shop.desk.take_next(EVA)).id for _ in opened] == opened
    with pytest.raises(QueueEmpty):
        await shop.desk.take_next(EVA)
    assert await shop.open_of(EVA) == 3


async def test_an_agent_has_a_bounded_number(shop: SupportShop):
    most = shop.platform.settings.support.conversations_per_agent_max
    opened = [await shop.open(who) for who in customers(most + 2)]
    answers = await asyncio.gather(*(shop.desk.take_next(EVA) for _ in opened), return_exceptions=True)
    assert sum(isinstance(each, AgentBusy) for each in answers) == 2
    assert await shop.open_of(EVA) == most
    assert len(await shop.rows(conversations, conversations.c.agent_id == EVA.account_id)) == most
    with pytest.raises(AgentBusy):
        await shop.desk.take(EVA, (await shop.desk.queue(EVA, None, 1)).items[0].id)
    assert await shop.broken() == []


async def test_one_conversation_wanted_by_many_has_one_agent(shop: SupportShop):
    one = await shop.open()
    answers = await asyncio.gather(*(shop.desk.take(each, one) for each in agents(10)), return_exceptions=True)
    assert sum(isinstance(each, ConversationTaken) for each in answers) == 9
    assert len(await shop.agents(one)) == 1
    winner = Principal((await shop.row(one)).agent_id, "support")
    assert view(await shop.desk.take(winner, one)) == ("open", winner.account_id, 1), "one's own, again"
    assert len(await shop.agents(one)) == 1
    await shop.service.close(winner, one)
    with pytest.raises(ConversationClosed):
        await shop.desk.take(winner, one)
    with pytest.raises(ConversationNotFound):
        await shop.desk.take(EVA, one)


async def test_handing_on(shop: SupportShop):
    one = await shop.open_with(ANN, EVA)
    with pytest.raises(AgentNotFound):
        await shop.desk.transfer(EVA, one, FRITZ.account_id)
    with pytest.raises(AgentNotFound):
        await shop.desk.transfer(EVA, one, BEN.account_id)
    await shop.desk.queue(FRITZ, None, 1)
    assert view(await shop.desk.transfer(EVA, one, FRITZ.account_id)) == ("open", FRITZ.account_id, 1)
    with pytest.raises(ConversationNotFound):
        await shop.say(EVA, one, "Not mine any more")
    await shop.say(FRITZ, one, "Good morning")
    assert await shop.agents(one) == [(EVA.account_id, "transferred"), (FRITZ.account_id, None)]
    assert (await shop.open_of(EVA), await shop.open_of(FRITZ)) == (0, 1)
    changes = [event for event in await shop.told() if isinstance(event, ConversationChanged)]
    assert changes[-1].concerns == (ANN.account_id, EVA.account_id, FRITZ.account_id)
    await shop.desk.transfer(ROOT, one, None)
    assert (await shop.row(one)).agent_id is None
    assert await shop.broken() == []


async def test_only_ones_own_is_handed_on(shop: SupportShop):
    waiting = await shop.open()
    await shop.desk.queue(EVA, None, 1)
    with pytest.raises(ConversationWaiting):
        await shop.desk.transfer(EVA, waiting, EVA.account_id)
    await shop.service.close(ANN, waiting)
    with pytest.raises(ConversationNotFound):
        await shop.desk.transfer(EVA, waiting, None)
    with pytest.raises(ConversationClosed):
        await shop.desk.transfer(ROOT, waiting, None)


async def test_two_agents_hand_on_to_each_other_at_once(shop: SupportShop):
    one, other = await shop.open_with(ANN, EVA), await shop.open_with(BEN, FRITZ)
    for _ in range(3):
        await asyncio.gather(
            shop.desk.transfer(EVA, one, FRITZ.account_id), shop.desk.transfer(FRITZ, other, EVA.account_id)
        )
        await asyncio.gather(
            shop.desk.transfer(FRITZ, one, EVA.account_id), shop.desk.transfer(EVA, other, FRITZ.account_id)
        )
    assert (await shop.open_of(EVA), await shop.open_of(FRITZ)) == (1, 1)
    assert len(await shop.agents(one)) == 7
    assert await shop.broken() == []


async def test_who_goes_away_lets_all_go_and_they_keep_their_place(shop: SupportShop):
    first, second, third = [await shop.open(who) for who in customers(3)]
    await shop.desk.take(EVA, first)
    await shop.desk.take(EVA, third)
    assert await shop.desk.leave(EVA) == 2
    assert [each.id for each in (await shop.desk.queue(EVA, None, 9)).items] == [first, second, third]
    assert await shop.agents(first) == [(EVA.account_id, "released")]
    assert await shop.open_of(EVA) == 0
    assert await shop.desk.leave(EVA) == 0
    assert await shop.broken() == []


async def test_what_nobody_answers_returns_to_the_queue(shop: SupportShop):
    within_ms = shop.platform.settings.support.answer_within_s * 1000
    silent, answered, asked_again = [await shop.open_with(who, EVA) for who in customers(3)]
    await shop.say(EVA, answered, "One moment")
    await shop.say(EVA, asked_again, "Yes?")
    shop.clock.advance(within_ms - 1)
    await shop.say(customers(3)[2], asked_again, "Still nothing")
    assert await shop.desk.sweep() == 0
    shop.clock.advance(1)
    assert await shop.desk.sweep() == 1
    assert await shop.agents(silent) == [(EVA.account_id, "away")]
    assert (await shop.row(answered)).agent_id == EVA.account_id, "it is the customer's turn"
    shop.clock.advance(within_ms)
    assert await shop.desk.sweep() == 1
    assert await shop.agents(asked_again) == [(EVA.account_id, "away")]
    assert await shop.open_of(EVA) == 1
    assert (await shop.desk.take_next(FRITZ)).id == silent
    assert await shop.broken() == []


async def test_asking_again_does_not_put_the_deadline_off(shop: SupportShop):
    within_ms = shop.platform.settings.support.answer_within_s * 1000
    one = await shop.open_with()
    shop.clock.advance(within_ms - 1)
    await shop.say(ANN, one, "Hello?")
    shop.clock.advance(1)
    assert await shop.desk.sweep() == 1


async def test_sweeping_answering_and_closing_at_once(shop: SupportShop):
    within_ms = shop.platform.settings.support.answer_within_s * 1000
    people = customers(4)
    opened = [await shop.open_with(who, EVA) for who in people]
    shop.clock.advance(within_ms)
    answers = await asyncio.gather(
        shop.desk.sweep(),
        Desk(shop.platform, shop.database).sweep(),
        shop.say(EVA, opened[0], "Here I am"),
        shop.service.close(people[1], opened[1]),
        shop.desk.leave(EVA),
        return_exceptions=True,
    )
    assert all(isinstance(each, ShopError) for each in answers if isinstance(each, BaseException))
    assert (await shop.row(opened[1])).status == "closed"
    for conversation_id in opened[2:]:
        assert len([1 for _, ended in await shop.agents(conversation_id) if ended is not None]) == 1
    assert await shop.broken() == []
