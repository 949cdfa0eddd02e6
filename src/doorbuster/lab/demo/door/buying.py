"""What somebody does whose turn has come: claims, again and again as long as it may help, and pays."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random
from typing import Any

import msgspec

from doorbuster.lab.demo.door.cast import Visitor
from doorbuster.lab.demo.people import JSON
from doorbuster.lab.demo.shoppers import Shopper
from doorbuster.lab.stampede import Ledger, NoAnswerError, Pool
from doorbuster.lab.stampede.wire import classify

PAUSE_S = (0.2, 0.5)
"""Between two tries to claim."""
PAY_PAUSE_S = (1.5, 3.0)
"""Between two tries to pay, as Retry-After asks."""
WATCH_S = (0.5, 1.0)
"""Between two looks of somebody for whom it was sold out."""
DOUBTS_S_MAX = 5.0
NEVER_PAYS_ONE_IN = 5
"""Of the first half: so their units come back while others wait."""


class Buying:
    """One task for everybody who was let in; all of them end with `close`, at the latest."""

    def __init__(self, sale_id: str, units: int, http: Pool, shopper: Shopper, seed: int) -> None:
        self._path, self._units = f"/v1/sales/{sale_id}/claims", units
        self._http, self._shopper = http, shopper
        self._chance = Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.ledger = Ledger()
        self.paid: dict[str, Visitor] = {}
        """Orders for which the provider has taken the money."""
        self.claims_refused: Counter[str] = Counter()
        self.payments_refused: Counter[str] = Counter()

    def admitted(self, visitor: Visitor) -> None:
        task = asyncio.create_task(self._buy(visitor))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Sends everybody home; whoever does not know yet what became of their claim may ask a little longer."""
        give_up_s = time.monotonic() + DOUBTS_S_MAX
        while self.ledger.doubts() and self._tasks and time.monotonic() < give_up_s:
            await asyncio.sleep(0.1)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _buy(self, visitor: Visitor) -> None:
        claim = await self._claim(visitor)
        if claim is None:
            return
        visitor.order_id = claim["order_id"]
        bought = len(self.ledger)
        if bought <= self._units // 2 and bought % NEVER_PAYS_ONE_IN == 0 and not visitor.bot:
            return  # changes their mind, and says nothing
        await self._pay(visitor, {"id": claim["order_id"], "total": claim["total"]})

    async def _claim(self, visitor: Visitor) -> dict[str, Any] | None:
        """The claim with the admission, under one key. None: it is good for nothing any more."""
        key = f"door-{visitor.buyer.customer_id}"
        headers = {
            **JSON,
            "Authorization": f"Bearer {visitor.buyer.token}",
            "Idempotency-Key": key,
            "Doorbuster-Admission": visitor.admission,
        }
        while True:
            try:
                answer = await self._http.request("POST", self._path, headers, b'{"quantity":1}')
            except NoAnswerError:
                self.ledger.doubted(visitor.buyer, key, "no-answer")
                await self._pause(PAUSE_S)
                continue
            outcome = classify(answer.status, answer.body)
            if outcome.kind == "claimed":
                self.ledger.settled(visitor.buyer, key)
                self.ledger.acknowledged(visitor.buyer, key, outcome.order_id, outcome.quantity)
                return answer.json(dict[str, Any])
            self.claims_refused[outcome.reason] += 1
            if outcome.kind == "unknown":
                self.ledger.doubted(visitor.buyer, key, outcome.reason)
            elif outcome.reason not in ("overloaded", "rate-limited"):  # those did not look at the key
                self.ledger.settled(visitor.buyer, key)
            if outcome.kind == "error":
                return None
            await self._pause(WATCH_S if outcome.reason == "sold-out" else PAUSE_S)

    async def _pay(self, visitor: Visitor, order: dict[str, Any]) -> None:
        """Until the provider has taken the money, or the order has ended meanwhile."""
        while True:
            try:
                slug = await self._shopper.pay_order(visitor.buyer.token, order)
            except (NoAnswerError, msgspec.DecodeError):
                slug = "no-answer"
            if slug in ("paid", "already-paid"):
                self.paid[order["id"]] = visitor
                return
            self.payments_refused[slug] += 1
            if slug == "order-not-payable":
                return
            await self._pause(PAY_PAUSE_S)

    async def _pause(self, between_s: tuple[float, float]) -> None:
        await asyncio.sleep(self._chance.uniform(*between_s))
