"""What nobody needs any more goes away; what somebody needs stays."""

from __future__ import annotations

import asyncio

import pytest

from contexts.accounts.accounts_shop import EMAIL, HOME, PASSWORD, Shop
from doorbuster.contexts.accounts import purge as purging
from doorbuster.contexts.accounts.tables import families, guesses, tokens
from doorbuster.contracts.accounts import WrongCredentials
from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.sql.idempotency import idempotency_keys

DAY_MS = 24 * 3600 * 1000


async def test_sessions_go_a_day_after_their_end_and_live_ones_stay(shop: Shop):
    await shop.register()
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    shop.clock.advance(20 * DAY_MS)
    alive = await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    shop.clock.advance(11 * DAY_MS)
    await shop.built.purge.sweep()
    assert len(await shop.rows(families)) == 2, "not yet"
    shop.clock.advance(1)
    await shop.built.purge.sweep()
    assert len(await shop.rows(families)) == len(await shop.rows(tokens)) == 1
    await shop.sessions.refresh(alive.refresh_token)


async def test_exchanged_tokens_go_while_their_family_lives_on(shop: Shop):
    await shop.register()
    session = await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    for _ in range(4):
        shop.clock.advance(20 * DAY_MS)
        session = await shop.sessions.refresh(session.refresh_token)
    await shop.built.purge.sweep()
    assert len(await shop.rows(tokens)) == 2, "an exchanged one that could still be used again stays"
    await shop.sessions.refresh(session.refresh_token)


async def test_past_guesses_and_old_keys_go(shop: Shop):
    await shop.register()
    with pytest.raises(WrongCredentials):
        await shop.sessions.log_in(EMAIL, "wrong password", HOME)
    await shop.built.purge.sweep()
    assert len(await shop.rows(guesses)) == 2
    shop.clock.advance(15 * 60 * 1000)
    await shop.built.purge.sweep()
    assert not await shop.rows(guesses)
    assert len(await shop.rows(idempotency_keys)) == 1
    shop.clock.advance(7 * DAY_MS)
    await shop.built.purge.sweep()
    assert not await shop.rows(idempotency_keys)


async def test_a_sweep_goes_page_by_page_and_is_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(purging, "PAGE", 2)
    monkeypatch.setattr(purging, "PAGES_MAX", 3)
    row = {"since_ms": 0, "guesses": 1}
    rows = [row | {"subject": bytes([number])} for number in range(10)]
    await shop.database.write(lambda tx: tx.execute(guesses.insert(), rows))
    assert await shop.built.purge.sweep() == 6
    assert await shop.built.purge.sweep() == 4
    assert not await shop.rows(guesses)


async def test_the_task_of_the_back_room_outlives_an_outage(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    [task] = shop.built.context.tasks
    assert (task.name, task.room) == ("accounts-purge", "back")
    sweeps, thrice = 0, asyncio.Event()

    async def sweep() -> int:
        nonlocal sweeps
        sweeps += 1
        if sweeps == 3:
            thrice.set()
        raise Unavailable

    monkeypatch.setattr(shop.built.purge, "sweep", sweep)
    monkeypatch.setattr(purging, "PAUSE_S", 0.001)
    running = asyncio.create_task(task.run())
    await thrice.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
