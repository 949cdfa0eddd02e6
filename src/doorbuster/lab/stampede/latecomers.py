"""Buyers who were told "sold out" and stay a while, like people do.

Their patience is fixed before it starts and does not depend on how the sale goes: everyone looks at the sale
about once a second, tries once (with a fresh key) each time units are seen, and goes home after `window_s`
or after TRIES_MAX tries. Nobody retries until some number comes out right.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from .buyers import Buyer
from .errors import NoAnswerError, SaleUnreadableError
from .http_client import Pool
from .lanes import LaneLimits
from .ledger import Ack, Ledger
from .plan import Plan
from .tally import bump
from .verify import read_sale
from .wire import ClaimWriter, Outcome, Sale, classify

TRIES_MAX = 5  # patience of one person
LOOK_EVERY_S = 1.0  # give or take a quarter
REACTION_S_MAX = 0.5  # from seeing units to pressing the button
PEOPLE_MAX = 10_000  # the others go home at once and are counted as left out
GROUPS_MAX = 64  # each group looks through one connection
GROUP_SIZE_MIN = 25
CLAIM_CONNECTIONS_MAX = 192  # with the watchers' at most 256

OnClaim = Callable[[Ack], None]


class Latecomers(msgspec.Struct, frozen=True):
    """How it went.

    people = claimed + went_home; tries = claimed + sum(refused_by_slug) + errors + unknown.
    """

    people: int
    left_out: int
    looks: int
    failed_looks: int
    tries: int
    claimed: int
    went_home: int
    sold_out: int
    errors: int
    unknown: int
    refused_by_slug: dict[str, int]
    duration_s: float


class _Person:
    """One latecomer; `key_in_doubt` is asked again on the next try, as a correct client does."""

    __slots__ = ("buyer", "done", "key_in_doubt", "tries")

    def __init__(self, buyer: Buyer) -> None:
        self.buyer = buyer
        self.tries = 0
        self.key_in_doubt: str | None = None
        self.done = False


async def latecomers(
    plan: Plan,
    buyers: Sequence[Buyer],
    window_s: float,
    on_claim: OnClaim | None = None,
    *,
    ledger: Ledger | None = None,
) -> Latecomers:
    """Lets the buyers (say, `ledger.empty_handed()`) wait for released units for `window_s` seconds.

    Claims and doubts go into the ledger, so that a later `verify` counts them; `on_claim` hears of each
    claim. Ends early when everybody is served or gone, or when the sale is closed.
    """
    started_at = time.monotonic()
    book = Ledger() if ledger is None else ledger
    people = [_Person(buyer) for buyer in buyers[:PEOPLE_MAX]]
    groups = _grouped(people)
    look_limits = LaneLimits(connections=max(1, len(groups)), timeout_s=plan.timeout_s, wait_s=plan.timeout_s)
    claim_limits = LaneLimits(
        connections=min(plan.connections, CLAIM_CONNECTIONS_MAX),
        waiting=PEOPLE_MAX,
        timeout_s=plan.timeout_s,
        wait_s=plan.timeout_s,
    )
    async with Pool(plan.base_url, look_limits) as looks, Pool(plan.base_url, claim_limits) as claims:
        crowd = _Crowd(plan, book, looks, claims, started_at + window_s, on_claim)
        async with asyncio.TaskGroup() as tasks:
            for number, group in enumerate(groups):
                tasks.create_task(crowd.watch(group, Random(f"{plan.seed}/{number}")))
    return crowd.report(len(people), len(buyers) - len(people), time.monotonic() - started_at)


class _Crowd:
    """Everybody who is still there."""

    def __init__(
        self, plan: Plan, ledger: Ledger, looks: Pool, claims: Pool, end_at: float, on_claim: OnClaim | None
    ) -> None:
        self._plan, self._ledger, self._end_at, self._on_claim = plan, ledger, end_at, on_claim
        self._look_pool, self._claim_pool = looks, claims
        self._writer = ClaimWriter(claims.target, plan.sale_id, plan.quantity)
        self._run_id = secrets.token_hex(4)
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    async def watch(self, group: Sequence[_Person], chance: Random) -> None:
        """Looks at the sale for a group until all are done or the window ends."""
        await self._wait(chance.uniform(0, LOOK_EVERY_S))
        while time.monotonic() < self._end_at:
            waiting = [person for person in group if not person.done]
            if not waiting:
                return
            sale = await self._look(waiting[0].buyer)
            if sale is not None and sale.state == "closed":
                return
            if sale is not None and sale.units_left > 0:
                async with asyncio.TaskGroup() as tasks:
                    for person in waiting:
                        tasks.create_task(self._try(person, chance.uniform(0, REACTION_S_MAX)))
            await self._wait(LOOK_EVERY_S * chance.uniform(0.75, 1.25))

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, min(seconds, self._end_at - time.monotonic())))

    async def _look(self, buyer: Buyer) -> Sale | None:
        self._counts["looks"] += 1
        try:
            return await read_sale(self._look_pool, self._plan.sale_id, buyer)
        except SaleUnreadableError:
            self._counts["failed_looks"] += 1  # looks again in a second
            return None

    async def _try(self, person: _Person, reaction_s: float) -> None:
        await asyncio.sleep(reaction_s)
        person.tries += 1
        self._counts["tries"] += 1
        key = person.key_in_doubt or f"{self._run_id}-{secrets.token_hex(8)}"
        outcome = await self._claim(person.buyer, key)
        person.key_in_doubt = key if outcome.kind == "unknown" else None
        self._book(person, key, outcome)
        if person.tries >= TRIES_MAX or outcome.reason == "limit-reached":
            person.done = True

    async def _claim(self, buyer: Buyer, key: str) -> Outcome:
        try:
            headers = self._writer.headers(buyer.token, key)
            reply = await self._claim_pool.request("POST", self._writer.path, headers, self._writer.body)
        except NoAnswerError as error:
            return Outcome("unknown" if error.failure.sent else "error", error.failure.value)
        return classify(reply.status, reply.body)

    def _book(self, person: _Person, key: str, outcome: Outcome) -> None:
        if outcome.kind == "unknown":
            self._ledger.doubted(person.buyer, key, outcome.reason)
            self._counts["unknown"] += 1
            return
        if outcome.kind == "error":
            self._counts["errors"] += 1
            return
        self._ledger.settled(person.buyer, key)
        if outcome.kind == "refused":
            bump(self._refused, outcome.reason)
            return
        self._ledger.acknowledged(person.buyer, key, outcome.order_id, outcome.quantity)
        self._counts["claimed"] += 1
        person.done = True
        if self._on_claim:
            self._on_claim(Ack(person.buyer, key, outcome.order_id, outcome.quantity))

    def report(self, people: int, left_out: int, duration_s: float) -> Latecomers:
        """What happened so far."""
        counts = self._counts
        return Latecomers(
            people=people,
            left_out=left_out,
            looks=counts["looks"],
            failed_looks=counts["failed_looks"],
            tries=counts["tries"],
            claimed=counts["claimed"],
            went_home=people - counts["claimed"],
            sold_out=self._refused["sold-out"],
            errors=counts["errors"],
            unknown=counts["unknown"],
            refused_by_slug=dict(self._refused),
            duration_s=round(duration_s, 3),
        )


def _grouped(people: Sequence[_Person]) -> list[Sequence[_Person]]:
    size = max(GROUP_SIZE_MIN, -(-len(people) // GROUPS_MAX))
    return [people[start : start + size] for start in range(0, len(people), size)]
