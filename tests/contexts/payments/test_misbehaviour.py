"""Seeded shoppers, a provider that misbehaves in every way at once, and books that balance afterwards.

The long run, 1,000 shoppers, is a part of `make proof`; other seeds: `PAYMENTS_SEED=7`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from conftest import OpenDatabase
from contexts.payments.conftest import MIGRATIONS
from contexts.payments.paying_shop import CUSTOMER, SECRET, Front, Shop, build_shop, close_shop, until
from doorbuster.contexts.payments.model import PAID, Pace
from doorbuster.contexts.payments.refunding import RefundImpossible
from doorbuster.contexts.payments.store.tables import ledger_entries, payments, refunds, webhook_events
from doorbuster.contracts.payments import AlreadyPaid, Payment, PaymentClosed, PaymentInProgress, PaymentOpen
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.context import Platform

SEED = int(os.environ.get("PAYMENTS_SEED", "20261121"))
ORDERS = int(os.environ.get("PAYMENTS_ORDERS", "50"))
LANES = 12
ASKS_MAX = 400

PATIENT = ("--tries-max", "100", "--retry-base-ms", "20", "--retry-cap-ms", "150")
MISBEHAVIOUR = {
    "late": 0.3,
    "late_ms": [5, 150],
    "twice": 0.3,
    "twice_gap_ms": [0, 30],
    "out_of_order": 0.3,
    "out_of_order_hold_ms": 200,
    "forged": 0.3,
    "drop_reply": 0.3,
    "drop_reply_times": 6,
    "drop_reply_on": ["intent", "refund", "confirm", "cancel"],
    "slow": 0.1,
    "slow_ms": [5, 60],
    "down": 0.05,
}
QUICK = Pace(
    lease_ms=1_500,
    abandoned_ms=200,
    check_first_ms=300,
    check_cap_ms=1_000,
    refund_first_ms=50,
    refund_cap_ms=500,
    refunds_sweep_s=0.05,
    checks_sweep_s=0.1,
)


class RunningClock(ManualClock):
    """Real time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


@pytest.fixture(params=["simulator", "stripe"])
async def wild(
    open_database: OpenDatabase,
    platform: Platform,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Shop]:
    data = tmp_path_factory.mktemp("simulator") / "wild.sqlite"
    front, clock = Front(), RunningClock(0)
    arguments = (*PATIENT, "--stripe-webhook-url", front.webhook_url_of("stripe"))
    # The provider signs with two secrets, of which we have one: it is rotating them.
    secrets = ["a secret that is coming", SECRET]
    with SimulatorProcess(
        data, secrets=secrets, seed=SEED, misbehaviour=MISBEHAVIOUR, arguments=arguments
    ) as simulator:
        database = await open_database("payments", MIGRATIONS)
        shop = build_shop(
            replace(platform, clock=clock),
            clock,
            database,
            simulator,
            webhook_url=front.webhook_url,
            pace=QUICK,
            timeout_s=0.7,
            wrap=lambda provider: provider,
            protocol=request.param,
        )
        await front.open(shop.service)
        working = [
            asyncio.create_task(shop.service.refunding.run()),
            asyncio.create_task(shop.service.reconciling.run()),
        ]
        yield shop
        for task in working:
            assert not task.done(), task.result()
            task.cancel()
        await asyncio.wait(working)
        await front.close()
        await close_shop(shop)


class Shopper:
    """Buys one order the way people do: impatiently, twice, or not at all."""

    def __init__(self, shop: Shop, number: int) -> None:
        self.shop = shop
        self.dice = random.Random(f"{SEED}-{number}")
        self.order_id = shop.order_id()
        self.amount = Money(self.dice.randint(1, 100_000), self.dice.choice(("CNY", "USD", "JPY")))

    async def buy(self) -> None:
        method = self.dice.choice((None, None, "pm_card_visa", "pm_card_declined"))
        payment = await self._open("first", method)
        for number in range(self.dice.choice((0, 0, 1, 2))):
            await self._confirm(payment, "decline")
            if number and self.dice.random() < 0.5:
                payment = await self._open_another(payment)
        fate = self.dice.random()
        if fate < 0.8:
            await self._confirm(payment)
        if fate < 0.2 or fate > 0.9:
            await self._close()
        if fate < 0.3:
            await self._refund(payment)

    async def _confirm(self, payment: Payment, outcome: str = "success") -> None:
        """On the page, unless the method has paid and there may be none."""
        if payment.status != "captured":
            await self.shop.desk.confirm(payment, outcome)

    async def _open(self, key: str, method: str | None = None) -> Payment:
        """The first answer to a key; several requests may be under way."""
        while True:
            asked = self.dice.choice((1, 1, 2, 3))
            outcomes = await asyncio.gather(
                *(self.shop.service.create(self.order_id, CUSTOMER, self.amount, key, method) for _ in range(asked)),
                return_exceptions=True,
            )
            opened = {outcome.id: outcome for outcome in outcomes if isinstance(outcome, Payment)}
            assert len(opened) <= 1
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, (PaymentInProgress, Unavailable)):
                    raise outcome
            if opened:
                return opened.popitem()[1]
            await asyncio.sleep(0.05)

    async def _open_another(self, payment: Payment) -> Payment:
        """Another payment once the declined one is known to be declined; the old one if it is still open."""
        try:
            return await self._open("second")
        except (PaymentOpen, AlreadyPaid, PaymentClosed):
            return payment

    async def _close(self) -> None:
        for _ in range(ASKS_MAX):
            with contextlib.suppress(Unavailable):
                answers = await self.shop.service.close_open([self.order_id])
                if answers[self.order_id] != "unknown":
                    return
            await asyncio.sleep(0.02)
        raise AssertionError("the provider never answered")

    async def _refund(self, payment: Payment) -> None:
        """If it was paid: the whole, asked for twice and for two causes; or in parts, of which one is too much."""
        for _ in range(ASKS_MAX):
            status = ""
            with contextlib.suppress(Unavailable):  # no connection was free in time: asked again
                status = await self.shop.status(payment)
            if status in PAID:
                await self._ask_back(payment)
                return
            if status == "cancelled":
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"payment {payment.id} never came to an end")

    async def _ask_back(self, payment: Payment) -> None:
        if self.dice.random() < 0.5:
            for cause in ("customer", "customer", "late-payment"):
                await self.shop.request_refund(payment, cause)
            return
        left = self.amount.amount
        for number in range(3):
            part = Money(self.dice.randint(1, left), self.amount.currency)
            for _ in range(2):
                await self.shop.request_refund(payment, f"part-{number}", amount=part)
            left -= part.amount
            if left:
                with pytest.raises(RefundImpossible):
                    await self.shop.request_refund(payment, "greed", amount=Money(left + 1, self.amount.currency))
            else:
                return


async def test_whatever_happens_captures_are_captured_rows_and_the_statement(wild: Shop):
    shop = wild
    shoppers = iter([Shopper(shop, number) for number in range(ORDERS)])

    async def lane() -> None:
        for shopper in shoppers:
            await shopper.buy()

    await asyncio.gather(*(lane() for _ in range(LANES)))
    during = {check.verdict for check in await shop.service.audit()}
    assert "broken" not in during
    await shop.desk.misbehave()
    await until(lambda: quiet(shop), within_s=20 + ORDERS / 10)

    rows, lines = await shop.rows(payments), await shop.statement()
    paid = {row.id: row for row in rows if row.captured_amount}
    captures = [line for line in lines if line.kind == "capture"]
    given_back = [line for line in lines if line.kind == "refund"]
    assert len(paid) > ORDERS // 2
    assert len(captures) == len({line.payment_id for line in captures}) == len(paid)
    assert all(paid[int(line.payment_id)].amount == line.amount for line in captures)
    refunded = await shop.rows(refunds)
    assert len({row.payment_id for row in refunded}) > ORDERS // 10
    assert sorted((row.id, row.amount) for row in refunded) == sorted(
        (int(line.refund_id or 0), line.amount) for line in given_back
    )
    back = Counter({row.id: row.refunded_amount for row in paid.values() if row.refunded_amount})
    assert back == sum((Counter({row.payment_id: row.amount}) for row in refunded), Counter[int]())
    assert all((row.status == "refunded") == (row.refunded_amount == row.captured_amount) for row in paid.values())

    entries = await shop.rows(ledger_entries)
    assert len(entries) == 2 * (len(paid) + len(refunded))
    balance = {currency: sum(e.amount for e in entries if e.currency == currency) for currency in ("CNY", "USD", "JPY")}
    assert set(balance.values()) == {0}
    events = await shop.event_types()
    assert (events.count("payments.captured"), events.count("payments.refunded")) == (len(paid), len(refunded))
    assert sum(told.whole for told in await shop.refunds_told()) == sum(row.status == "refunded" for row in rows)
    assert [row.effect for row in await shop.rows(webhook_events)].count("captured") <= len(paid)
    assert len({row.order_id for row in paid.values()}) == len(paid), "no order was paid twice"
    stats = await shop.desk.stats()
    assert stats["deliveries"]["forged"].get("accepted", 0) == 0
    assert stats["misbehaved"].keys() >= {"late", "twice", "out_of_order", "forged"}
    assert all(stats["replies"].values()), "it did misbehave"


async def quiet(shop: Shop) -> bool:
    """Nothing is on its way any more."""
    if (await shop.desk.stats())["deliveries_pending"]:
        return False
    if any(row.status == "requested" for row in await shop.rows(refunds)):
        return False
    if any(row.status == "in_progress" for row in await shop.rows(payments)):
        return False
    return all(check.verdict == "holds" for check in await shop.service.audit())
