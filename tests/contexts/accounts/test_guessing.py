"""Guessing at passwords is bounded, and shuts nobody out of his own account."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import argon2
import pytest
from argon2.profiles import CHEAPEST

from contexts.accounts.accounts_shop import AWAY, EMAIL, HOME, PASSWORD, Shop, all_at_once, of_type
from doorbuster.contexts.accounts.model import (
    GUESS_WINDOW_MS,
    GUESSES_FROM_ANYWHERE,
    GUESSES_FROM_ONE_PLACE,
    Tokens,
)
from doorbuster.contexts.accounts.passwords import WAITING_PER_THREAD
from doorbuster.contexts.accounts.tables import families, guesses
from doorbuster.contracts.accounts import TooManyFailedLogIns, WrongCredentials
from doorbuster.kernel.errors import Overloaded


async def guess(shop: Shop, address: str = HOME, email: str = EMAIL) -> Tokens:
    return await shop.sessions.log_in(email, "not the password", address)


async def guess_out(shop: Shop, address: str = HOME, email: str = EMAIL) -> None:
    """As often as it is allowed from one place."""
    for _ in range(GUESSES_FROM_ONE_PLACE):
        with pytest.raises(WrongCredentials):
            await guess(shop, address, email)


async def guess_out_everywhere(shop: Shop) -> None:
    for number in range(GUESSES_FROM_ANYWHERE // GUESSES_FROM_ONE_PLACE):
        await guess_out(shop, f"203.0.113.{number}")


async def test_after_ten_wrong_guesses_even_the_right_password_must_wait(shop: Shop):
    await shop.register()
    await guess_out(shop)
    shop.clock.advance(60_000)
    with pytest.raises(TooManyFailedLogIns) as paused:
        await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    assert paused.value.retry_after_s == GUESS_WINDOW_MS // 1000 - 60
    assert not await shop.rows(families)
    shop.clock.advance(GUESS_WINDOW_MS - 60_000)
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    assert len(await shop.rows(families)) == 1


async def test_the_pause_ends_a_quarter_of_an_hour_after_the_first_guess_not_the_last(shop: Shop):
    await shop.register()
    with pytest.raises(WrongCredentials):
        await guess(shop)
    shop.clock.advance(GUESS_WINDOW_MS - 1)
    for _ in range(GUESSES_FROM_ONE_PLACE - 1):
        with pytest.raises(WrongCredentials):
            await guess(shop)
    with pytest.raises(TooManyFailedLogIns) as paused:
        await guess(shop)
    assert paused.value.retry_after_s == 1
    shop.clock.advance(1)
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)


async def test_the_pause_comes_also_for_an_address_without_an_account(shop: Shop):
    await guess_out(shop, email="nobody@example.org")
    with pytest.raises(TooManyFailedLogIns):
        await guess(shop, email="nobody@example.org")


async def test_a_stranger_who_guesses_pauses_himself_and_not_the_owner(shop: Shop):
    await shop.register()
    await guess_out(shop, AWAY)
    with pytest.raises(TooManyFailedLogIns):
        await guess(shop, AWAY)
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)


async def test_guesses_from_many_places_are_bounded_together(shop: Shop):
    await shop.register()
    await guess_out_everywhere(shop)
    with pytest.raises(TooManyFailedLogIns):
        await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    shop.clock.advance(GUESS_WINDOW_MS)
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)


async def test_many_places_cannot_shut_out_the_owner_from_where_he_has_logged_in_before(shop: Shop):
    await shop.register()
    session = await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    await guess_out_everywhere(shop)
    with pytest.raises(TooManyFailedLogIns):
        await shop.sessions.log_in(EMAIL, PASSWORD, AWAY)
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    await shop.sessions.refresh(session.refresh_token)


async def test_the_place_where_the_owner_sits_is_bounded_too(shop: Shop):
    await shop.register()
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    await guess_out(shop, HOME)
    with pytest.raises(TooManyFailedLogIns):
        await guess(shop, HOME)


async def test_a_right_password_ends_the_count_of_its_place(shop: Shop):
    await shop.register()
    for _ in range(3):
        for _ in range(GUESSES_FROM_ONE_PLACE - 1):
            with pytest.raises(WrongCredentials):
                await guess(shop)
        await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    [anywhere] = await shop.rows(guesses)
    assert anywhere.guesses == 3 * (GUESSES_FROM_ONE_PLACE - 1), "but not the count of all places"


async def test_logging_in_often_is_no_guessing(shop: Shop):
    await shop.register()
    for _ in range(GUESSES_FROM_ANYWHERE + 1):
        await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    [anywhere] = await shop.rows(guesses)
    assert anywhere.guesses == 0


async def test_parallel_guesses_do_not_slip_past_the_bound(shop: Shop):
    await shop.register()
    outcomes = await all_at_once(lambda _: guess(shop), 2 * GUESSES_FROM_ONE_PLACE)
    assert len(of_type(outcomes, WrongCredentials)) == GUESSES_FROM_ONE_PLACE
    assert len(of_type(outcomes, TooManyFailedLogIns)) == GUESSES_FROM_ONE_PLACE
    rows = await shop.rows(guesses)
    assert [row.guesses for row in rows] == [GUESSES_FROM_ONE_PLACE] * 2, "a refused guess is not counted"


async def test_guesses_at_one_account_do_not_pause_another(shop: Shop):
    await shop.register()
    await shop.register("bob@example.org")
    await guess_out(shop)
    await shop.sessions.log_in("bob@example.org", PASSWORD, HOME)


async def test_a_log_in_that_finds_no_place_for_hashing_is_not_counted(shop: Shop):
    await shop.register()
    hasher = shop.sessions._check._hasher
    places = [hasher.place() for _ in range(2 * (1 + WAITING_PER_THREAD))]
    for place in places:
        place.__enter__()
    for _ in range(GUESSES_FROM_ONE_PLACE + 1):
        with pytest.raises(Overloaded):
            await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    for place in places:
        place.__exit__(None, None, None)
    assert not await shop.rows(guesses)
    await shop.sessions.log_in(EMAIL, PASSWORD, HOME)


class Recorder(argon2.PasswordHasher):
    """Remembers the cost of each verification."""

    costs: ClassVar[list[argon2.Parameters]] = []

    def verify(self, *hash_and_password: str | bytes):
        self.costs.append(argon2.extract_parameters(str(hash_and_password[0])))
        return super().verify(*hash_and_password)


async def test_the_same_work_is_done_whether_or_not_there_is_an_account(shop: Shop):
    await shop.register()
    shop.sessions._check._hasher._argon2 = recorder = Recorder.from_parameters(CHEAPEST)
    for email in (EMAIL, "nobody@example.org"):
        recorder.costs.clear()
        with pytest.raises(WrongCredentials):
            await guess(shop, email=email)
        assert recorder.costs == [CHEAPEST]


async def test_a_guesser_who_hangs_up_has_guessed(shop: Shop):
    await shop.register()
    for _ in range(GUESSES_FROM_ONE_PLACE):
        task = asyncio.create_task(guess(shop))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.2)
    with pytest.raises(TooManyFailedLogIns):
        await guess(shop)
