"""Hashing takes no more than its share."""

from __future__ import annotations

import asyncio
import threading

import argon2
import pytest
from argon2.profiles import CHEAPEST, RFC_9106_LOW_MEMORY

from contexts.accounts.accounts_shop import PASSWORD, all_at_once, of_type
from doorbuster.contexts.accounts.passwords import WAITING_PER_THREAD, PasswordHasher
from doorbuster.kernel.errors import Overloaded


class Gauge(argon2.PasswordHasher):
    """Counts how many verify at the same time, and holds them until it is opened."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.opened = threading.Event()
        self.now = self.most = self.calls = 0
        self._lock = threading.Lock()

    def verify(self, *hash_and_password: str | bytes):
        with self._lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)
        self.opened.wait(10)
        try:
            return super().verify(*hash_and_password)
        finally:
            with self._lock:
                self.now -= 1


async def test_the_default_cost_is_the_low_memory_profile_of_rfc_9106():
    hashed = await PasswordHasher(1).hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert argon2.extract_parameters(hashed) == RFC_9106_LOW_MEMORY


async def test_a_hash_matches_its_own_password_only():
    hasher = PasswordHasher(1, CHEAPEST)
    hashed = await hasher.hash(PASSWORD)
    assert await hasher.matches(hashed, PASSWORD)
    assert not await hasher.matches(hashed, PASSWORD + " ")


async def test_nothing_matches_where_there_is_no_hash_and_it_takes_the_same_work():
    hasher = PasswordHasher(1, CHEAPEST)
    hasher._argon2 = gauge = Gauge()
    gauge.opened.set()
    assert not await hasher.matches(None, PASSWORD)
    assert gauge.calls == 1


@pytest.mark.parametrize("cost", [CHEAPEST, RFC_9106_LOW_MEMORY])
def test_the_decoy_is_a_hash_of_todays_cost(cost: argon2.Parameters):
    assert argon2.extract_parameters(PasswordHasher(1, cost)._decoy) == cost


async def test_hashes_of_another_cost_are_outdated():
    hashed = await PasswordHasher(1, CHEAPEST).hash(PASSWORD)
    assert not PasswordHasher(1, CHEAPEST).outdated(hashed)
    assert PasswordHasher(1).outdated(hashed)


async def test_no_more_hash_at_once_than_allowed_and_no_more_wait_than_there_are_places():
    hasher = PasswordHasher(2, CHEAPEST)
    hashed = await hasher.hash(PASSWORD)
    hasher._argon2 = gauge = Gauge()
    places = 2 * (1 + WAITING_PER_THREAD)

    async def check(_number: int) -> bool:
        with hasher.place():
            return await hasher.matches(hashed, PASSWORD)

    async def open_soon() -> None:
        await asyncio.sleep(0.1)
        gauge.opened.set()

    outcomes, _ = await asyncio.gather(all_at_once(check, places + 5), open_soon())
    assert len(of_type(outcomes, Overloaded)) == 5
    assert outcomes.count(True) == places
    assert gauge.most == 2
    with hasher.place():
        assert await hasher.matches(hashed, PASSWORD), "the places are free again"


async def test_a_caller_who_goes_away_gives_back_the_place():
    hasher = PasswordHasher(1, CHEAPEST)
    hasher._argon2 = gauge = Gauge()

    async def check() -> None:
        with hasher.place():
            await hasher.matches(None, PASSWORD)

    tasks = [asyncio.create_task(check()) for _ in range(1 + WAITING_PER_THREAD)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded), hasher.place():
        pass
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    gauge.opened.set()
    with hasher.place():
        pass
