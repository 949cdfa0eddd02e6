"""What can be known only of many: bots get no more than their accounts' draw, and estimates come true."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

from conftest import NOW_MS
from contexts.waiting_room.conftest import DRAWN_MS, House, customer
from doorbuster.contexts.waiting_room.model import drawn_order, next_rate

BOTS, PEOPLE, WINNERS = 1_000, 9_000, 1_000
NEVER = 2**62


def test_a_thousand_bot_accounts_get_what_a_thousand_accounts_get():
    """Bots take their tickets first. Of 1,000 places drawn from 10,000 accounts a tenth are theirs: 100, with a
    deviation of 9 (hypergeometric). Over 40 seeded draws the mean deviates by 1.35; five deviations are allowed."""
    wins: list[int] = []
    for seed in range(40):
        arrived = [(1 + n, 1 + n, n) for n in range(BOTS + PEOPLE)]  # the bots are the first in every respect
        order, lot = drawn_order(hashlib.sha256(b"%d" % seed).digest(), arrived, opens_ms=1_000_000)
        assert lot == len(order) == len(set(order)) == BOTS + PEOPLE
        wins.append(sum(ticket_id <= BOTS for ticket_id in order[:WINNERS]))
    assert abs(sum(wins) / len(wins) - 100) < 5 * 1.35
    assert max(wins) < 100 + 5 * 9


async def test_asking_ten_times_as_often_takes_no_second_ticket(house: House):
    """200 bots ask ten times each, 200 people once, through the database."""
    dice = random.Random(4)
    sale_id = await house.guarded_sale()
    asks = [n for n in range(200) for _ in range(10)] + list(range(200, 400))
    dice.shuffle(asks)
    await asyncio.gather(*(house.room.service.join(customer(n), sale_id) for n in asks))
    await house.tick(DRAWN_MS)
    found = await house.tickets(sale_id)
    assert sorted(row.customer_id - 1_000 for row in found) == list(range(400))
    first = sum(row.customer_id < 1_200 for row in found[:100])
    assert 50 - 5 * 4.4 < first < 50 + 5 * 4.4, "hypergeometric: 50, deviation 4.4"


class Drain:
    """600 people at 20 a second, at most 100 admissions open. One in five never claims, the others take 1 to 6 s."""

    def __init__(self, house: House, sale_id: int) -> None:
        self.house = house
        self.sale_id = sale_id
        self.dice = random.Random(5)
        self.claim_at_ms: dict[int, int] = {}
        self.said: list[tuple[int, int, int]] = []
        """(place, when, estimate)"""
        self.let_in_ms: dict[int, int] = {}

    async def run(self) -> None:
        while len(self.let_in_ms) < 600:
            assert self.house.clock.now_ms() < NOW_MS + 400_000
            await self.house.tick()
            for row in await self.house.tickets(self.sale_id):
                await self.look_at(row, self.house.clock.now_ms())
            await self.house.hear_of_claims()

    async def look_at(self, row: Any, now_ms: int) -> None:
        person = customer(row.customer_id - 1_000)
        if row.state != "waiting":
            self.let_in_ms.setdefault(row.place, now_ms)
        elif row.place % 50 == 0 and now_ms > NOW_MS + DRAWN_MS + 5_000:
            standing = await self.house.room.service.mine(person, self.sale_id)
            assert standing.estimate is not None
            self.said.append((row.place, now_ms, standing.estimate.s))
        if row.state == "admitted":
            if row.place not in self.claim_at_ms:
                comes = self.dice.random() < 0.8
                self.claim_at_ms[row.place] = now_ms + self.dice.randint(1_000, 6_000) if comes else NEVER
            if self.claim_at_ms[row.place] <= now_ms < row.expires_ms:
                standing = await self.house.room.service.mine(person, self.sale_id)
                await self.house.claim(self.sale_id, row.customer_id, standing.admission)
                self.claim_at_ms[row.place] = NEVER


async def test_estimates_come_true_within_a_fifth_while_people_come_late_or_never(house: House):
    house.set(1, per_s=20.0, unused_max=100, admitted_for_s=5)
    sale_id = await house.guarded_sale(units=1_000)
    await asyncio.gather(*(house.room.service.join(customer(n), sale_id) for n in range(600)))
    await house.tick(DRAWN_MS)
    drain = Drain(house, sale_id)
    await drain.run()
    checked = 0
    for place, at_ms, estimate in drain.said:
        really_s = (drain.let_in_ms[place] - at_ms) / 1000
        if really_s >= 5:  # a tick of one second is a fifth of that
            checked += 1
            assert abs(estimate - really_s) <= 0.2 * really_s, (place, estimate, really_s)
    assert checked > 50
    assert await house.audit() == {}


def test_the_rate_follows_the_claim_path():
    bounds = (5.0, 5_000.0, 100)
    assert next_rate(100, 90, 10, 1, bounds) > 100, "claims come through, nobody waits"
    assert next_rate(100, 90, 101, 1, bounds) < 100, "claims wait"
    assert next_rate(100, 10, 10, 1, bounds) == 100, "nobody comes: nothing is learned"
    assert next_rate(5, 0, 500, 1, bounds) == 5
    assert next_rate(5_000, 5_000, 1, 1, bounds) == 5_000


def test_the_rate_finds_a_capacity_that_it_is_not_told():
    """A claim path that carries 800 a second, and whose queue grows by what is beyond."""
    rate, queue = 100.0, 0.0
    seen: list[float] = []
    for _ in range(600):
        queue = max(0.0, queue + (rate - 800) * 0.5)
        rate = next_rate(rate, min(rate, 800.0), queue / 800 * 1000, 0.5, (5.0, 5_000.0, 100))
        seen.append(rate)
    assert 600 < sum(seen[200:]) / 400 < 900
