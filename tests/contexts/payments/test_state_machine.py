"""Thousands of payments on the real service and store, with a provider in memory that fails in every way there is.

Each run is the life of one order's payments: answers are lost before or after the provider acts, processes die between
any two steps, callbacks are dropped, doubled, shuffled and forged, declined cards are tried again, refunds are asked
for in parts and too often. At the end the provider's own books are the oracle.

The long run, 100,000 lives on each database, is a part of `make proof` (`PAYMENTS_RUNS=100000`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest
import structlog

from conftest import OpenDatabase
from contexts.payments.conftest import MIGRATIONS
from contexts.payments.paying_shop import CUSTOMER, SECRET, doors
from contexts.payments.wild_provider import Died, WildProvider
from doorbuster.contexts.payments.model import Pace
from doorbuster.contexts.payments.refunding import RefundImpossible
from doorbuster.contexts.payments.service import PaymentsService
from doorbuster.contexts.payments.store.tables import ledger_entries, payments, refunds, webhook_events
from doorbuster.contexts.payments.till import Till
from doorbuster.contracts.orders import PaymentMismatch, RefundRequested
from doorbuster.contracts.payments import (
    CLOSE_MAX,
    AlreadyPaid,
    Payment,
    PaymentCaptured,
    PaymentClosed,
    PaymentInProgress,
    PaymentNotFound,
    PaymentOpen,
    PaymentRefunded,
    WebhookSignatureInvalid,
)
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.events import Envelope
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.signatures import sign
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.database import Database

RUNS = int(os.environ.get("PAYMENTS_RUNS", "500"))
SEED = int(os.environ.get("PAYMENTS_SEED", "20261124"))
WAVES = {"sqlite": 250, "postgres": 40}
"""Lives at once: few enough that a connection is waited for, not refused."""
LATER = (PaymentInProgress, PaymentOpen, PaymentClosed, AlreadyPaid, Unavailable)
NOW_MS = 1_795_000_000_000


@dataclass
class Machine:
    """The service with everything that drives it."""

    service: PaymentsService
    database: Database
    provider: WildProvider
    clock: ManualClock
    ids: Snowflake
    forged: Counter[str] = field(default_factory=Counter)
    orders: list[int] = field(default_factory=list)

    async def run(self, number: int) -> None:
        """One order's life."""
        dice = random.Random(f"{SEED}-{number}")
        order_id, amount = self.ids.next(CUSTOMER), Money(dice.randint(1, 9999), "CNY")
        self.orders.append(order_id)
        known: list[int] = []
        for attempt in range(dice.choice((1, 1, 2, 3))):
            method = dice.choice((None, "pm_card_visa", "pm_card_visa", "pm_card_declined"))
            for _ in range(dice.choice((1, 1, 2, 4))):
                try:
                    opened = await self.service.create(order_id, CUSTOMER, amount, f"key-{attempt}", method)
                    known.append(opened.id)
                    self._check_answer(opened)
                except (*LATER, Died):
                    continue
            await self._something_happens(dice, order_id, known, amount)

    def _check_answer(self, answer: Payment) -> None:
        """Whoever is told "captured" has paid."""
        if answer.status == "captured":
            assert self.provider.intents[answer.id].captured == answer.amount.amount

    async def _something_happens(self, dice: random.Random, order_id: int, known: list[int], amount: Money) -> None:
        for _ in range(dice.randint(0, 4)):
            act = dice.choice(("pay", "decline", "callback", "callback", "forgery", "close", "refund", "refund"))
            if act == "callback":
                await self.call_back(dice, order_id)
            elif act == "forgery":
                await self._forge(dice, order_id)
            elif act == "close":
                await asyncio.gather(self.service.close_open([order_id]), return_exceptions=True)
            elif known and act == "pay":
                self.provider.pay(dice.choice(known))
            elif known and act == "decline":
                self.provider.decline(dice.choice(known))
            elif known:
                await self._ask_back(dice, order_id, dice.choice(known), amount)

    async def call_back(self, dice: random.Random, order_id: int) -> None:
        """Any callback of the order, in any order, perhaps twice at once."""
        bodies = self.provider.told.get(order_id)
        if not bodies:
            return
        body = dice.choice(bodies)
        twice = [self._deliver(body) for _ in range(dice.choice((1, 1, 2)))]
        for outcome in await asyncio.gather(*twice, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, (Unavailable, Died)):
                raise outcome

    async def _deliver(self, body: bytes) -> None:
        signature = sign((SECRET.encode(),), self.clock.now_ms() // 1000, body)
        await self.service.receive_webhook("simulator", signature, body)

    async def _forge(self, dice: random.Random, order_id: int) -> None:
        """Unsigned, or signed by somebody who has the secret and lies."""
        bodies = self.provider.told.get(order_id)
        if not bodies:
            return
        body = dice.choice(bodies)
        if dice.random() < 0.5:
            with pytest.raises(WebhookSignatureInvalid):
                await self.service.receive_webhook("simulator", f"t={self.clock.now_ms() // 1000},v1={'0' * 64}", body)
            self.forged["unsigned"] += 1
            return
        event = msgspec.json.decode(body)
        event["id"] = "evt_lie"
        name, value = dice.choice((("amount", 10**6), ("order_id", "5"), ("currency", "USD"), ("reference", "pay_5")))
        event["data"][name] = value
        try:
            await self._deliver(msgspec.json.encode(event))
        except (PaymentMismatch, PaymentNotFound):
            self.forged["signed lie"] += 1
        except (Unavailable, Died):
            return
        else:
            raise AssertionError(f"a lie was believed: {event}")

    async def _ask_back(self, dice: random.Random, order_id: int, payment_id: int, amount: Money) -> None:
        part = amount if dice.random() < 0.4 else Money(dice.randint(1, amount.amount), "CNY")
        event = RefundRequested(order_id, payment_id, part, f"cause-{dice.randint(0, 2)}")
        envelope = Envelope("orders", 1, self.clock.now_ms(), event)
        try:
            await self.database.write(lambda tx: self.service.refunding.request(tx, [envelope]))
        except (RefundImpossible, Unavailable):
            return  # parked, or the relay comes again: neither has asked for anything
        if dice.random() < 0.5:
            await self.sweep(self.service.refunding.sweep)

    async def sweep(self, sweep: object) -> None:
        try:
            await sweep()  # type: ignore[operator]
        except (Unavailable, Died):
            return

    async def come_to_rest(self) -> None:
        """Nothing is lost any more; time passes until nothing is on its way."""
        self.provider.behaves = True
        orders, self.orders = self.orders, []
        for _ in range(40):
            self.clock.advance(700_000)
            while await self.service.reconciling.sweep():
                pass
            while await self.service.refunding.sweep():
                pass
            if not await self._on_the_way():
                break
        else:
            raise AssertionError("it does not come to rest")
        # What nobody has paid by now expires, so that it need not be asked for in every later wave.
        for start in range(0, len(orders), CLOSE_MAX):
            answers = await self.service.close_open(orders[start : start + CLOSE_MAX])
            assert "unknown" not in answers.values()
        self.provider.behaves = False

    async def _on_the_way(self) -> bool:
        rows = await self.database.read(
            lambda tx: tx.rows(
                "SELECT (SELECT count(*) FROM payments WHERE status = 'in_progress') "
                "+ (SELECT count(*) FROM refunds WHERE status = 'requested')"
            )
        )
        return rows[0][0] > 0


def machine_on(database: Database) -> Machine:
    clock = ManualClock(NOW_MS)
    ids = Snowflake(clock, worker=1)
    provider = WildProvider(clock, random.Random(SEED))
    pace = Pace(page=500, at_once=64, outages_max=10**6, check_cap_ms=600_000)
    till = Till(database, clock, ids, Wakeups(), {"simulator": provider}, pace)
    return Machine(PaymentsService(till, doors()), database, provider, clock, ids)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Every one of the thousands of troubles would be a line of the log."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def test_captures_are_captured_rows_and_refunds_are_refunded_rows(open_database: OpenDatabase, quiet: None):
    machine = machine_on(await open_database("payments", MIGRATIONS))
    wave = WAVES[machine.database.dialect]
    for first in range(0, RUNS, wave):
        await asyncio.gather(*(machine.run(number) for number in range(first, min(first + wave, RUNS))))
        await machine.come_to_rest()
    await books_agree(machine)
    print(f"{RUNS} runs: {dict(machine.provider.trouble)}, refused {dict(machine.forged)}")
    assert all(machine.provider.trouble[what] for what in ("acted, answer lost", "acted, answer lost, and we died"))
    await machine.service.close()


async def books_agree(machine: Machine) -> None:
    """Rows, events and ledger against the provider's own books."""
    provider = machine.provider

    def read(tx):
        return [
            tx.execute(table.select()).all() for table in (payments, refunds, ledger_entries, outbox, webhook_events)
        ]

    rows, given_back, entries, told, callbacks = await machine.database.read(read)
    captured = {row.id: row.captured_amount for row in rows if row.captured_amount}
    assert captured == {intent.payment_id: intent.captured for intent in provider.intents.values() if intent.captured}
    assert len(captured) > RUNS // 3
    refunded = {row.id: row.refunded_amount for row in rows if row.refunded_amount}
    assert refunded == {intent.payment_id: intent.refunded for intent in provider.intents.values() if intent.refunded}
    assert {row.id: row.amount for row in given_back} == {
        int(key): made.amount for key, (_, made) in provider.made.items()
    }
    # A capture cannot be undone by us: an order has two only when the first had gone back wholly before.
    standing = Counter(row.order_id for row in rows if row.captured_amount > row.refund_requested)
    assert not [order_id for order_id, count in standing.items() if count > 1]
    events = [msgspec.json.decode(row.payload, type=PaymentCaptured | PaymentRefunded) for row in told]
    captures = Counter(event.payment_id for event in events if isinstance(event, PaymentCaptured))
    assert captures == Counter(dict.fromkeys(captured, 1))
    back: Counter[int] = Counter()
    for event in events:
        if isinstance(event, PaymentRefunded):
            back[event.payment_id] += event.amount.amount
    assert back == refunded
    assert Counter(row.status == "refunded" for row in rows)[True] == sum(
        isinstance(event, PaymentRefunded) and event.whole for event in events
    )
    assert sum(entry.amount for entry in entries) == 0
    held = sum(entry.amount for entry in entries if entry.account == "provider:simulator")
    assert held == sum(line.amount if line.kind == "capture" else -line.amount for line in provider.lines)
    assert "evt_lie" not in {row.event_id for row in callbacks}
    assert {check.verdict for check in await machine.service.audit()} == {"holds"}
