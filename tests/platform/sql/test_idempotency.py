"""Idempotency keys: one creation per key, the same answer ever after, and nothing bound by a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import Struct

from conftest import NOW_MS
from doorbuster.kernel.errors import Conflict
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import (
    KEPT_MS,
    fingerprint,
    forget_keys,
    idempotency_keys,
    metadata,
    once,
)

from . import counters


class Order(Struct, frozen=True):
    what: str
    quantity: int = 1


class Receipt(Struct, frozen=True):
    number: int
    what: str


@pytest.fixture
async def shop(database: Database) -> Database:
    await database.write(lambda tx: metadata.create_all(tx.connection))
    return database


class Till:
    """Writes a row per receipt; `made` is how many it was asked to make, also in vain."""

    def __init__(self) -> None:
        self.made = 0

    def ask(
        self, order: Order, key: str = "key", scope: str = "customer:1", error: Exception | None = None
    ) -> Callable[[Tx], Receipt]:
        def work(tx: Tx) -> Receipt:
            def create() -> Receipt:
                self.made += 1
                counters.put(tx, f"receipt {self.made}")
                if error is not None:
                    raise error
                return Receipt(self.made, order.what)

            return once(tx, scope, key, order, Receipt, NOW_MS, create)

        return work


@pytest.fixture
def till() -> Till:
    return Till()


def keys(tx: Tx) -> list[Any]:
    return list(tx.execute(sa.select(idempotency_keys)))


async def test_the_same_key_and_body_get_the_same_answer_for_ever(shop: Database, till: Till):
    first = await shop.write(till.ask(Order("tea")))
    assert [await shop.write(till.ask(Order("tea"))) for _ in range(3)] == [first] * 3
    assert till.made == 1
    assert await shop.read(counters.everything) == {"receipt 1": 0}


async def test_duplicates_at_once_create_once_and_all_get_the_answer(shop: Database, till: Till):
    answers = await asyncio.gather(*(shop.write(till.ask(Order("tea"))) for _ in range(12)))
    assert answers == [Receipt(answers[0].number, "tea")] * 12
    assert len(await shop.read(counters.everything)) == 1
    assert len(await shop.read(keys)) == 1


async def test_the_second_waits_for_the_first_and_takes_over_if_that_fails(shop: Database, till: Till):
    refused = Conflict("sold out")
    asked = [till.ask(Order("tea"), error=refused), *(till.ask(Order("tea")) for _ in range(5))]
    first, *others = await asyncio.gather(*(shop.write(work) for work in asked), return_exceptions=True)
    assert first in (refused, others[0]), "who comes first is the database's choice"
    assert len(set(others)) == 1 and isinstance(others[0], Receipt)
    assert len(await shop.read(counters.everything)) == 1


async def test_the_same_key_with_another_body_is_an_error_and_creates_nothing(shop: Database, till: Till):
    await shop.write(till.ask(Order("tea")))
    for other in (Order("tea", 2), Order("coffee")):
        with pytest.raises(IdempotencyKeyReused):
            await shop.write(till.ask(other))
    assert till.made == 1
    assert await shop.read(counters.everything) == {"receipt 1": 0}


async def test_two_bodies_at_once_leave_one_creation_and_one_error(shop: Database, till: Till):
    orders = [Order("tea"), Order("coffee")] * 5
    answers = await asyncio.gather(*(shop.write(till.ask(order)) for order in orders), return_exceptions=True)
    assert sum(isinstance(answer, IdempotencyKeyReused) for answer in answers) == 5
    assert len({answer for answer in answers if isinstance(answer, Receipt)}) == 1
    assert len(await shop.read(counters.everything)) == 1


async def test_a_failure_binds_no_key(shop: Database, till: Till):
    with pytest.raises(Conflict):
        await shop.write(till.ask(Order("tea"), error=Conflict()))
    assert await shop.read(keys) == []
    assert (await shop.write(till.ask(Order("coffee")))).what == "coffee", "not even to its body"
    assert await shop.read(counters.everything) == {"receipt 2": 0}


async def test_a_failure_after_the_answer_binds_no_key_either(shop: Database, till: Till):
    def work(tx: Tx) -> None:
        till.ask(Order("tea"))(tx)
        raise Conflict

    with pytest.raises(Conflict):
        await shop.write(work)
    assert await shop.read(keys) == []
    assert await shop.read(counters.everything) == {}


async def test_keys_of_different_people_and_purposes_do_not_meet(shop: Database, till: Till):
    places = [(scope, key) for scope in ("customer:1", "customer:11", "sale:1") for key in ("1", "11")]
    answers = [await shop.write(till.ask(Order("tea"), key, scope)) for scope, key in places]
    assert len({answer.number for answer in answers}) == 6


def test_a_fingerprint_is_of_what_is_meant():
    class SameAsOrder(Struct, frozen=True):
        quantity: int
        what: str

    assert fingerprint(Order("tea")) == fingerprint(Order("tea", 1)) == fingerprint(SameAsOrder(1, "tea"))
    assert len({fingerprint(Order(what, n)) for what in ("tea", "Tea", "tea ", "茶") for n in (1, 2)}) == 8


async def test_keys_are_forgotten_after_a_week_oldest_first_and_in_bounded_steps(shop: Database, till: Till):
    for n in range(5):
        await shop.write(till.ask(Order("tea"), f"key {n}"))
        at_ms = NOW_MS + n
        await shop.write(
            lambda tx, n=n, at_ms=at_ms: tx.execute(
                sa.update(idempotency_keys).where(idempotency_keys.c.key == f"key {n}").values(at_ms=at_ms)
            )
        )
    week_later_ms = NOW_MS + KEPT_MS
    assert await shop.write(lambda tx: forget_keys(tx, week_later_ms)) == 0
    assert await shop.write(lambda tx: forget_keys(tx, week_later_ms + 4, limit=3)) == 3
    assert sorted(row.key for row in await shop.read(keys)) == ["key 3", "key 4"]
    assert await shop.write(lambda tx: forget_keys(tx, week_later_ms + 4, limit=3)) == 1
    assert (await shop.write(till.ask(Order("coffee"), "key 0"))).what == "coffee"
