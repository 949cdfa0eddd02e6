"""The audit finds each planted corruption and names it, and raises no false alarm while a stampede goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from doorbuster.lab.stampede import Ack, Buyer, Ledger, Plan, latecomers, rush, verify
from journeys.shop import Audit, Desk, Shop, copy_of, desk_at, embedded_shop


@dataclass(frozen=True)
class History:
    """A stopped shop in which everything that can happen has happened, and who it happened to."""

    shop: Shop
    paid: int
    refunded: int
    pending: int
    expired: int
    payment: int
    """That of the paid order."""
    transaction: int
    """Its capture in the ledger."""
    refund_payment: int


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    async with embedded_shop(tmp_path) as shop:
        await shop.start()
        buyers = shop.buyers()[:6]
        async with desk_at(shop) as desk:
            desk.patient = True
            orders = [await desk.claim(buyer, "desk") for buyer in buyers[:5]]
            expiring = await desk.claim(buyers[5], "hasty")
            for buyer, order in zip(buyers[:4], orders, strict=False):
                await desk.pay(buyer, order)
                await desk.comes_to(buyer, order, "paid")
            await desk.cancel(buyers[0], orders[0])
            await desk.comes_to(buyers[0], orders[0], "refunded")
            await desk.comes_to(buyers[5], expiring, "cancelled")
            await shop.recovered()
        await shop.stop()
        payments = dict(await shop.rows("payments", "SELECT order_id, id FROM payments"))
        refunded, paid, pending = int(orders[0]), int(orders[1]), int(orders[4])
        payment = payments[paid]
        posted = await shop.rows("payments", f"SELECT transaction_id FROM ledger_entries WHERE payment_id = {payment}")
        yield History(shop, paid, refunded, pending, int(expiring), payment, int(posted[0][0]), int(payments[refunded]))


def planted_in(past: History) -> list[Corruption]:
    return [*corruptions_of_the_sale(past), *corruptions_of_the_orders(past), *corruptions_of_the_payments(past)]


@dataclass(frozen=True)
class Corruption:
    """Statements on the file of a context, the check that must break, and whom it must name."""

    what: str
    context: str
    statements: Sequence[str]
    check: str
    named: int


UNITS = "units allotted = held + left"
OVERSOLD = "nothing oversold"
LIMITS = "no customer above the limit"
COUNTERS = "counters = units held"
STATUS = "order status = last recorded move"
LEGAL = "every move is legal"
TOTALS = "order total = sum of its lines"
LEDGER = "ledger balances"
CAPTURES = "captures posted once, with their amounts"
REFUNDS = "refunds posted once, within captures"
CALLBACKS = "callbacks take effect once"
STATEMENT = "captures and refunds = statement of simulator"
ORDERED = "every acknowledged claim has its order"
CLAIMED = "no order without a claim"
RETURNED = "cancelled orders gave their units back"
PAID = "captures = paid orders"
CAPTURED = "no paid order without a capture"
DEAD = "no dead events"

NOBODY = 424_242
"""An id that nothing has."""
WRITABLE = ("DROP TRIGGER ledger_no_update", "DROP TRIGGER ledger_no_delete")


def corruptions_of_the_sale(past: History) -> list[Corruption]:
    sale = int(past.shop.sales["desk"])
    claim = f"WHERE order_id = {past.pending}"
    its_quota = f"WHERE sale_id = {sale} AND customer_id = (SELECT customer_id FROM claims {claim})"
    one_left = f"UPDATE allotments SET units_left = units_left + 1 WHERE sale_id = {sale}"
    one_taken = f"UPDATE allotments SET units_left = units_left - 1 WHERE sale_id = {sale}"
    hasty = int(past.shop.sales["hasty"])
    return [
        Corruption("a unit appears", "flash_sale", [one_left], UNITS, sale),
        Corruption(
            "the warehouse believes to have allotted more",
            "inventory",
            [f"UPDATE allotments SET units = units + 1 WHERE sale_id = {sale}"],
            "sales = allotments of the warehouse",
            sale,
        ),
        Corruption(
            "units went back that nobody took",
            "flash_sale",
            [f"INSERT INTO allotment_returns VALUES ({sale}, 1, 1, 1)"],
            "sales = allotments of the warehouse",
            sale,
        ),
        Corruption(
            "an allotment is gone", "flash_sale", [f"DELETE FROM allotments WHERE sale_id = {sale}"], UNITS, sale
        ),
        Corruption(
            "a claim of a thousand", "flash_sale", [f"UPDATE claims SET quantity = 1000 {claim}"], OVERSOLD, sale
        ),
        Corruption(
            "two units for one customer",
            "flash_sale",
            [f"INSERT INTO claims SELECT 1, sale_id, customer_id, 'x', 1, 1, NULL FROM claims {claim}", one_taken],
            LIMITS,
            sale,
        ),
        Corruption("a counter forgets", "flash_sale", [f"UPDATE quotas SET used = 0 {its_quota}"], COUNTERS, sale),
        Corruption(
            "a claim without a trace",
            "flash_sale",
            [f"DELETE FROM quotas {its_quota}", f"DELETE FROM claims {claim}", one_left],
            CLAIMED,
            past.pending,
        ),
        Corruption(
            "a claim that nobody was told of",
            "flash_sale",
            [
                f"INSERT INTO claims SELECT {NOBODY}, sale_id, 5, 'x', 1, 1, NULL FROM claims {claim}",
                f"INSERT INTO quotas SELECT sale_id, 5, used, limit_per_customer, given_back FROM quotas {its_quota}",
                one_taken,
            ],
            ORDERED,
            NOBODY,
        ),
        Corruption(
            "a paid claim is released",
            "flash_sale",
            [
                f"UPDATE claims SET released_ms = 1 WHERE order_id = {past.paid}",
                f"UPDATE quotas SET used = 0, given_back = 1 WHERE sale_id = {sale} AND customer_id = "
                f"(SELECT customer_id FROM claims WHERE order_id = {past.paid})",
                one_left,
            ],
            ORDERED,
            past.paid,
        ),
        Corruption(
            "an expired claim is still held",
            "flash_sale",
            [
                f"UPDATE claims SET released_ms = NULL WHERE order_id = {past.expired}",
                f"UPDATE quotas SET used = 1, given_back = 0 WHERE sale_id = {hasty}",
                f"UPDATE allotments SET units_left = units_left - 1 WHERE sale_id = {hasty}",
            ],
            RETURNED,
            past.expired,
        ),
    ]


def corruptions_of_the_orders(past: History) -> list[Corruption]:
    order = f"WHERE id = {past.pending}"

    def moved(to: str, order_id: int, before: str, payment_id: int | str = "payment_id") -> list[str]:
        """A move as the shop itself would write it."""
        return [
            f"UPDATE orders SET status = '{to}', version = version + 1, payment_id = {payment_id} "
            f"WHERE id = {order_id}",
            f"INSERT INTO order_moves SELECT id, version, 1, '{before}', '{to}', 'x', 'x' FROM orders "
            f"WHERE id = {order_id}",
        ]

    return [
        Corruption(
            "a status without a move",
            "orders",
            [f"UPDATE orders SET status = 'cancelled' {order}"],
            STATUS,
            past.pending,
        ),
        Corruption(
            "moves are gone", "orders", [f"DELETE FROM order_moves WHERE order_id = {past.paid}"], STATUS, past.paid
        ),
        Corruption(
            "an illegal move", "orders", moved("refunded", past.pending, "pending_payment", 1), LEGAL, past.pending
        ),
        Corruption("a discount", "orders", [f"UPDATE orders SET total_amount = 1 {order}"], TOTALS, past.pending),
        Corruption(
            "a discount in the line, too",
            "orders",
            [
                f"UPDATE orders SET total_amount = 1 {order}",
                f"UPDATE order_lines SET unit_amount = 1 WHERE order_id = {past.pending}",
            ],
            ORDERED,
            past.pending,
        ),
        Corruption(
            "somebody else's order", "orders", [f"UPDATE orders SET customer_id = 5 {order}"], ORDERED, past.pending
        ),
        Corruption(
            "an order is lost",
            "orders",
            [
                f"DELETE FROM {table} WHERE {column} = {past.pending}"
                for table, column in (("orders", "id"), ("order_lines", "order_id"), ("order_moves", "order_id"))
            ],
            ORDERED,
            past.pending,
        ),
        Corruption(
            "paid by nothing", "orders", moved("paid", past.pending, "pending_payment", 77), CAPTURED, past.pending
        ),
        Corruption(
            "paid by another's payment",
            "orders",
            moved("paid", past.pending, "pending_payment", past.payment),
            CAPTURED,
            past.pending,
        ),
        Corruption("money nobody asks back", "orders", moved("refunding", past.paid, "paid"), PAID, past.paid),
        Corruption(
            "a captured payment pays nothing",
            "orders",
            [f"UPDATE orders SET payment_id = 77 WHERE id = {past.paid}"],
            PAID,
            past.payment,
        ),
        Corruption(
            "an order that is paid although its money went back",
            "orders",
            [
                f"UPDATE orders SET status = 'paid', version = 2 WHERE id = {past.refunded}",
                f"DELETE FROM order_moves WHERE order_id = {past.refunded} AND n > 2",
            ],
            PAID,
            past.refunded,
        ),
        Corruption(
            "an event that died",
            "orders",
            [f"INSERT INTO parked_events VALUES ('orders.payments', {NOBODY}, 'x', x'7b7d', 1, 8, 0, 1, 'x', '')"],
            DEAD,
            NOBODY,
        ),
    ]


def corruptions_of_the_payments(past: History) -> list[Corruption]:
    paid, refunded = f"payment_id = {past.payment}", f"payment_id = {past.refund_payment}"
    uncaptured = (
        "UPDATE payments SET status = 'cancelled', captured_amount = 0, captured_ms = NULL, next_check_ms = NULL "
        f"WHERE id = {past.payment}"
    )
    return [
        Corruption(
            "one side of a transaction is gone",
            "payments",
            [*WRITABLE, f"DELETE FROM ledger_entries WHERE {paid} AND account = 'customers'"],
            CAPTURES,
            past.payment,
        ),
        Corruption(
            "money vanishes from the ledger",
            "payments",
            [*WRITABLE, f"UPDATE ledger_entries SET amount = amount - 1 WHERE {paid} AND account = 'customers'"],
            LEDGER,
            past.transaction,
        ),
        Corruption(
            "a capture that was never posted",
            "payments",
            [*WRITABLE, f"DELETE FROM ledger_entries WHERE {paid}"],
            CAPTURES,
            past.payment,
        ),
        Corruption(
            "a refund posted that was never made",
            "payments",
            [
                f"INSERT INTO ledger_entries SELECT transaction_id + 1, account, payment_id, {NOBODY}, 'refund', "
                f"amount, currency, cause, at_ms FROM ledger_entries WHERE {paid}"
            ],
            REFUNDS,
            NOBODY,
        ),
        Corruption(
            "a refund nobody asked for",
            "payments",
            [f"DELETE FROM refunds WHERE {refunded}"],
            REFUNDS,
            past.refund_payment,
        ),
        Corruption(
            "a capture of more than the provider took",
            "payments",
            [
                *WRITABLE,
                "UPDATE payments SET amount = amount + 1, captured_amount = captured_amount + 1 "
                f"WHERE id = {past.payment}",
                f"UPDATE ledger_entries SET amount = amount + CASE WHEN amount > 0 THEN 1 ELSE -1 END WHERE {paid}",
            ],
            STATEMENT,
            past.payment,
        ),
        Corruption(
            "a capture that the provider never made",
            "payments",
            [
                "INSERT INTO payments (id, order_id, customer_id, provider, reference, idempotency_key, amount, "
                "currency, status, checkout_url, lease_until_ms, next_check_ms, checks, captured_amount, "
                "refunded_amount, refund_requested, created_ms, updated_ms, captured_ms, refunded_ms) "
                f"SELECT {NOBODY}, {past.pending}, customer_id, provider, 'x', 'x', amount, "
                "currency, status, checkout_url, lease_until_ms, next_check_ms, checks, captured_amount, "
                "refunded_amount, refund_requested, "
                f"created_ms, updated_ms, captured_ms, refunded_ms FROM payments WHERE id = {past.payment}",
                f"INSERT INTO ledger_entries SELECT {NOBODY}, account, {NOBODY}, 0, kind, amount, currency, cause, "
                f"at_ms FROM ledger_entries WHERE {paid}",
            ],
            STATEMENT,
            NOBODY,
        ),
        Corruption(
            "a capture is forgotten",
            "payments",
            [
                *WRITABLE,
                f"DELETE FROM ledger_entries WHERE {paid}",
                f"DELETE FROM webhook_events WHERE {paid}",
                uncaptured,
            ],
            CAPTURED,
            past.paid,
        ),
        Corruption(
            "a capture moves to another order",
            "payments",
            [f"UPDATE payments SET order_id = {past.pending} WHERE id = {past.payment}"],
            PAID,
            past.payment,
        ),
        Corruption(
            "a callback that took effect twice",
            "payments",
            [
                "INSERT INTO webhook_events (provider, event_id, type, payment_id, effect, created_ms, received_ms) "
                "SELECT provider, event_id || '-again', type, payment_id, 'captured', 1, 1 "
                f"FROM webhook_events WHERE {paid} AND type = 'payment.captured'",
                f"UPDATE webhook_events SET effect = 'captured' WHERE {paid} AND type = 'payment.captured'",
            ],
            CALLBACKS,
            past.payment,
        ),
    ]


async def test_each_planted_corruption_is_found_and_named(history: History, tmp_path: Path) -> None:
    untouched = await history.shop.audit()
    assert untouched.everything_holds, untouched.breaches
    for number, corruption in enumerate(planted_in(history)):
        shop = copy_of(history.shop, tmp_path / f"corrupt-{number}")
        shop.simulator = history.shop.simulator
        shop.execute(corruption.context, *corruption.statements)
        async with shop.auditor() as audit:
            report = await audit()
        assert not report.ok, f"{corruption.what}: not found"
        named = {check.name: check.breaches for check in report.checks if not check.ok}
        assert any(str(corruption.named) in breach for breach in named.get(corruption.check, ())), (
            f"{corruption.what}: {named}"
        )
    await the_command_says_so_and_exits_with_one(history, tmp_path)


async def the_command_says_so_and_exits_with_one(history: History, tmp_path: Path) -> None:
    """The same by the command line, for one corruption of each context: a process each takes its time."""

    async def audited(corruption: Corruption) -> Audit:
        shop = copy_of(history.shop, tmp_path / f"corrupt-{corruption.context}")
        shop.simulator = history.shop.simulator
        shop.execute(corruption.context, *corruption.statements)
        return await shop.audit()

    one_of_each = list({corruption.context: corruption for corruption in planted_in(history)}.values())
    audits = await asyncio.gather(*(audited(corruption) for corruption in one_of_each))
    for corruption, audit in zip(one_of_each, audits, strict=True):
        assert (audit.status, audit.ok) == (1, False), corruption.what
        assert any(str(corruption.named) in breach for breach in audit.breaches[corruption.check])


async def test_a_corruption_planted_in_a_running_shop_is_found(tmp_path: Path) -> None:
    async with embedded_shop(tmp_path) as shop:
        await shop.start()
        async with desk_at(shop) as desk:
            desk.patient = True
            order = await desk.claim(shop.buyers()[0], "desk")
            await desk.comes_to(shop.buyers()[0], order, "pending_payment")
            await shop.recovered()
            with sqlite3.connect(shop.folder / "flash_sale.sqlite") as behind_its_back:
                behind_its_back.execute("UPDATE allotments SET units_left = units_left - 1")
        audit = await shop.audit()
        assert (audit.status, audit.ok) == (1, False)
        assert len(audit.breaches[UNITS]) == 3


MISBEHAVIOUR = {"late": 0.3, "late_ms": [50, 400], "twice": 0.3, "out_of_order": 0.2, "drop_reply": 0.05, "forged": 0.1}


async def test_no_false_alarm_while_a_stampede_claims_pays_expires_and_refunds(tmp_path: Path) -> None:
    """Audits one after the other, all the time: by the command, and as fast as they go."""
    async with embedded_shop(tmp_path, misbehaviour=MISBEHAVIOUR, seed=5) as shop:
        await shop.start()
        ledger = Ledger()
        plan = Plan(
            base_url=shop.base_url,
            sale_id=shop.sales["hasty"],
            rate_per_s=250.0,
            spacing="poisson",
            connections=32,
            timeout_s=10.0,
            seed=5,
        )
        buyers = shop.buyers()[:500]
        over = asyncio.Event()
        async with desk_at(shop) as desk, asyncio.TaskGroup() as auditing:
            auditing.create_task(audit_until(over, shop))
            commands = auditing.create_task(commanded_until(over, shop))
            customers = Customers(desk)
            async with asyncio.TaskGroup() as shopping:
                for buyer in shop.buyers()[500:530]:
                    shopping.create_task(customers.buy_and_give_back(buyer))
                await rush(plan, buyers, ledger, run_id="first")
                for number, ack in enumerate(ledger.promises()):
                    shopping.create_task(customers.buy_in_a_hurry(number, ack))
                # Units come back after a second, and are claimed by those who stayed.
                await latecomers(plan, ledger.empty_handed(), 3.0, ledger=ledger)
            over.set()
        assert commands.result() >= 1
        verification = await verify(plan, ledger)
        assert verification.ok, verification
        await shop.recovered()
        orders = dict(await shop.rows("orders", "SELECT status, count(*) FROM orders GROUP BY status"))
        assert orders["refunded"] >= 30
        assert orders["cancelled"] > 0


class Customers:
    """What becomes of a claim."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        desk.patient = True

    async def buy_in_a_hurry(self, number: int, ack: Ack) -> None:
        """Within a second, or too late; every third never pays."""
        if number % 3:
            await self._desk.pay(ack.buyer, ack.order_id)

    async def buy_and_give_back(self, buyer: Buyer) -> None:
        order_id = await self._desk.claim(buyer, "desk")
        await self._desk.pay(buyer, order_id)
        await self._desk.comes_to(buyer, order_id, "paid")
        await self._desk.cancel(buyer, order_id)
        await self._desk.comes_to(buyer, order_id, "refunded")


async def audit_until(over: asyncio.Event, shop: Shop) -> None:
    """One audit after the other in this process; a breach is a false alarm."""
    async with shop.auditor() as audit:
        while not over.is_set():
            broken = [check for check in (await audit()).checks if not check.ok]
            assert not broken, broken


async def commanded_until(over: asyncio.Event, shop: Shop) -> int:
    """The same by the command; how many there were."""
    count = 0
    while not over.is_set():
        audit = await shop.audit()
        assert (audit.status, audit.ok) == (0, True), audit.breaches
        count += 1
    return count
