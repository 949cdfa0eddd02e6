"""A simulated shop: hundreds of histories of sales, claims, payments, deadlines, refunds, redeliveries and restarts.

After every step the rows must conserve units, money and the law of an order's life; whenever everything has arrived,
the contexts must agree. Rows are read past the services, and expectations are written down here a second time.

The same histories every time; SIMULATION_EXAMPLES=2000 SIMULATION_RANDOM=1 looks at others, SIMULATION_SHRINK=1 makes a
failing one short.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from conftest import NOW_MS
from doorbuster.contracts.flash_sale import Claim, ClaimRequest, SaleProposal
from doorbuster.contracts.orders import OrderNotCancellable, OrderNotPayable, PaymentMismatch
from doorbuster.contracts.payments import (
    AlreadyPaid,
    Payment,
    PaymentClosed,
    PaymentInProgress,
    PaymentNotFound,
    PaymentOpen,
)
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from simulation.oracle import SaleOracle
from simulation.world import MERCHANT, PRICE, World, migrated_files

T = TypeVar("T")
EXAMPLES = int(os.environ.get("SIMULATION_EXAMPLES", "45"))
STEPS = 50
HOUR_MS = 3_600_000

customers = st.integers(1, 4)
keys = st.sampled_from(["a", "b", "c"])
quantities = st.integers(1, 3)
relays = st.sampled_from(
    [
        "orders.claims",
        "orders.payments",
        "flash_sale.releases",
        "payments.refunds",
        "inventory.orders",
        "inventory.sales",
    ]
)

LIFE = {
    None: {"pending_payment"},
    "pending_payment": {"paid", "cancelled"},
    "paid": {"refunding"},
    "cancelled": {"refunding"},
    "refunding": {"refunded"},
    "refunded": set(),
}
"""What may follow in this shop, where nothing is shipped."""


class Shop(RuleBasedStateMachine):
    template: Path

    sales = Bundle("sales")
    claimed = Bundle("claimed")
    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="doorbuster-simulation-"))
        self.runner = asyncio.Runner()
        self.world = World(self.template, self.folder)
        self.world.open()
        self.promised: dict[tuple[int, int, str], Claim] = {}
        self.payment_of: dict[int, Payment] = {}
        self.callbacks = 0
        self.busy_steps = 0
        self.run(self.world.stock(1_000))
        self.first_sale = self._hold(units=3, limit=2, pay_within_ms=60_000)

    def teardown(self) -> None:
        try:
            self.everything_arrives()
        finally:
            self.run(self.world.close())
            self.world.forget()
            self.runner.close()
            shutil.rmtree(self.folder)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # --- the sale ---------------------------------------------------------------------------------------------------

    @initialize(target=sales)
    def the_first_sale_is_on(self) -> int:
        return self.first_sale

    @initialize(target=claimed, customers=st.sets(customers, min_size=2))
    def the_first_buyers_come(self, customers: set[int]) -> Any:
        return self.claim([(self.first_sale, customer, "first", 1) for customer in sorted(customers)])

    @rule(
        target=sales,
        units=st.integers(1, 5),
        limit=st.integers(1, 3),
        pay_within_ms=st.sampled_from([1_000, 60_000, 900_000]),
    )
    @precondition(lambda self: self.world.one("flash_sale", "SELECT count(*) FROM sales") < 3)
    def hold_another_sale(self, units: int, limit: int, pay_within_ms: int) -> int:
        return self._hold(units, limit, pay_within_ms)

    def _hold(self, units: int, limit: int, pay_within_ms: int) -> int:
        now_ms = self.world.clock.now_ms()
        number = self.world.one("flash_sale", "SELECT count(*) FROM sales")
        proposal = SaleProposal(9, units, PRICE, limit, now_ms - 1, NOW_MS + 10_000 * HOUR_MS, pay_within_ms)
        sale = self.run(self.world.flash_sale.create_sale(MERCHANT, f"sale-{number}", proposal))
        return sale.terms.sale_id

    @rule(
        target=claimed,
        wanted=st.lists(st.tuples(sales, customers, keys, quantities), min_size=1, max_size=5),
    )
    def claim(self, wanted: list[tuple[int, int, str, int]]) -> Any:
        requests = [ClaimRequest(*want) for want in wanted]
        oracle = SaleOracle(self.world)
        answers = self.run(self.world.flash_sale.claim_many(requests))
        new: list[Claim] = []
        for request, answer in zip(requests, answers, strict=True):
            assert oracle.may_answer(request, answer), f"{request} got {answer!r}"
            if isinstance(answer, Claim):
                known = self.promised.setdefault((request.sale_id, request.customer_id, request.key), answer)
                assert msgspec.structs.replace(answer, released=known.released) == known
                if known is answer:
                    new.append(answer)
        return multiple(*new)

    @rule(sale=sales, customer=customers)
    def what_is_left_can_be_had_after_a_look(self, sale: int, customer: int) -> None:
        """Memory may lag; it must not lag behind a look at the rows."""
        self.run(self.world.flash_sale.live.refresh())
        oracle = SaleOracle(self.world)
        view = self.run(self.world.flash_sale.sale(sale))
        assert view.allotment.left == oracle.left[sale]
        if oracle.left[sale]:
            assert self.world.flash_sale.live.refusal(view, customer, self.world.clock.now_ms()) is None or (
                self.world.clock.now_ms() >= view.allotment.closes_ms
            )

    @rule(sale=consumes(sales))
    @precondition(lambda self: self.world.one("flash_sale", "SELECT count(*) FROM sales") > 1)
    def close_a_sale(self, sale: int) -> None:
        self.run(self.world.flash_sale.close_sale(MERCHANT, sale))

    # --- orders and payments ----------------------------------------------------------------------------------------

    @rule(claim=claimed)
    def look_at_an_order(self, claim: Claim) -> None:
        order = self.run(self.world.orders.order(_shopper(claim), claim.order_id))
        assert (order.id, order.customer_id, order.total) == (
            claim.order_id,
            claim.customer_id,
            claim.unit_price.times(claim.quantity),
        )

    @rule(target=opened, claim=claimed, key=keys)
    def open_a_payment(self, claim: Claim, key: str) -> Any:
        try:
            payment = self.run(
                self.world.orders.pay(_shopper(claim), claim.order_id, key, claim.unit_price.times(claim.quantity))
            )
        except (PaymentInProgress, PaymentOpen, PaymentClosed, AlreadyPaid, OrderNotPayable, Unavailable):
            return multiple()
        assert self.payment_of.setdefault(payment.id, payment) == payment
        return payment

    @rule(claim=claimed, amount=st.sampled_from([Money(1, "CNY"), Money(990, "USD"), Money(5_000, "CNY")]))
    def open_a_payment_of_another_amount(self, claim: Claim, amount: Money) -> None:
        self.run(self.world.orders.order(_shopper(claim), claim.order_id))
        with self.world.nothing_written("orders", "payments"), pytest.raises(PaymentMismatch):
            self.run(self.world.orders.pay(_shopper(claim), claim.order_id, "other", amount))

    @rule(target=opened, claim=claimed, key=keys, told=st.booleans(), relayed=st.booleans())
    def a_shopper_buys(self, claim: Claim, key: str, told: bool, relayed: bool) -> Any:
        """The whole way, as most people go it; the callback and its event may come later."""
        opened = self.open_a_payment(claim, key)
        if isinstance(opened, Payment):
            self.the_shopper_pays(opened)
            if told:
                self.a_callback_comes(opened, "payment.captured", again=False)
            if relayed:
                self.a_relay_takes_a_step("orders.payments")
        return opened

    @rule(payment=opened)
    def the_shopper_pays(self, payment: Payment) -> None:
        self.world.provider.pay(payment.id)

    @rule(payment=opened)
    def the_card_is_declined(self, payment: Payment) -> None:
        self.world.provider.decline(payment.id)

    @rule(payment=opened)
    def the_provider_captures_what_was_cancelled(self, payment: Payment) -> None:
        self.world.provider.capture_by_mistake(payment.id)
        self.a_callback_comes(payment, "payment.captured", again=False)

    @rule(
        payment=opened,
        kind=st.sampled_from(["payment.captured", "payment.captured", "payment.failed"]),
        again=st.booleans(),
    )
    def a_callback_comes(self, payment: Payment, kind: str, again: bool) -> None:
        """True or not, new or seen before: what is settled is what the provider answers."""
        self.callbacks += not again
        try:
            self.run(self.world.call_back(payment.id, kind, f"evt-{self.callbacks}"))
        except (PaymentMismatch, PaymentNotFound, Unavailable):
            return

    @rule(target=opened, claim=claimed, key=keys)
    def a_shopper_pays_too_late(self, claim: Claim, key: str) -> Any:
        """Changes their mind with the payment page still open, at a provider that does not care."""
        opened = self.open_a_payment(claim, key)
        self.cancel_an_order(claim)
        if isinstance(opened, Payment):
            self.the_provider_captures_what_was_cancelled(opened)
        return opened

    @rule(claim=claimed)
    def cancel_an_order(self, claim: Claim) -> None:
        try:
            order = self.run(self.world.orders.cancel(_shopper(claim), claim.order_id))
        except (OrderNotCancellable, Unavailable):
            return
        assert order.status in ("cancelled", "refunding", "refunded")

    # --- time, and what works off the rest --------------------------------------------------------------------------

    @rule(by_ms=st.sampled_from([1, 999, 5_000, 15_000, 60_000]))
    def time_passes(self, by_ms: int) -> None:
        self.world.clock.advance(by_ms)

    @rule(by_ms=st.sampled_from([1_000_000, 24 * HOUR_MS]))
    @precondition(lambda self: self.busy_steps > 10)
    def the_shop_is_down_for_long(self, by_ms: int) -> None:
        self.busy_steps = 0
        self.world.clock.advance(by_ms)
        self.the_process_starts_anew()

    @rule()
    def deadlines_are_swept(self) -> None:
        """Nobody who has paid loses the goods, told or not; nobody is cancelled whom the provider cannot speak for."""
        safe = {
            intent.order_id
            for intent in self.world.provider.intents.values()
            if intent.status == "captured" or (self.world.provider.away and intent.status == "requires_payment")
        }
        before = self._cancelled()
        self.run(self.world.expiry.sweep())
        assert not (self._cancelled() - before) & safe

    @rule()
    def the_deadline_passes(self) -> None:
        self.world.clock.advance(60_000)
        self.deadlines_are_swept()

    def _cancelled(self) -> set[int]:
        return {row["id"] for row in self.world.rows("orders", "SELECT id FROM orders WHERE status = 'cancelled'")}

    @rule()
    def payments_are_reconciled(self) -> None:
        self.run(self.world.payments.reconciling.sweep())

    @rule()
    def refunds_are_made(self) -> None:
        self.run(self.world.payments.refunding.sweep())

    @rule(relay=relays)
    def a_relay_takes_a_step(self, relay: str) -> None:
        self.run(self.world.step(relay))

    @rule(back=st.integers(1, 20), inbox_too=st.booleans())
    def events_come_again(self, back: int, inbox_too: bool) -> None:
        for relay in self.world.relays:
            self.run(self.world.redeliver(relay, back, inbox_too=inbox_too))

    @rule()
    def the_live_view_is_refreshed(self) -> None:
        self.run(self.world.flash_sale.live.refresh())
        self.run(self.world.flash_sale.live.refresh_holders())

    @rule(away=st.booleans())
    def the_provider_goes_or_comes_back(self, away: bool) -> None:
        self.world.provider.away = away

    @rule()
    def the_next_answer_of_the_provider_is_lost(self) -> None:
        self.world.provider.mute_next = True

    @rule()
    def the_process_starts_anew(self) -> None:
        self.run(self.world.close())
        self.world.open()

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def the_rows_are_true(self) -> None:
        self.busy_steps += 1
        self.units_are_conserved()
        self.nobody_holds_more_than_the_limit()
        self.counters_count_what_is_held()
        self.every_promise_is_a_row()
        self.orders_live_lawfully()
        self.paid_orders_are_paid_for()
        self.the_ledger_balances()
        self.no_money_moves_twice()

    def units_are_conserved(self) -> None:
        for row in self.world.rows(
            "flash_sale",
            "SELECT a.*, coalesce((SELECT sum(quantity) FROM claims c WHERE c.sale_id = a.sale_id "
            "AND released_ms IS NULL), 0) AS held FROM allotments a",
        ):
            assert row["units"] == row["held"] + row["units_left"], dict(row)

    def nobody_holds_more_than_the_limit(self) -> None:
        assert not self.world.rows(
            "flash_sale",
            "SELECT c.sale_id, customer_id FROM claims c JOIN sales s USING (sale_id) WHERE released_ms IS NULL "
            "GROUP BY c.sale_id, customer_id HAVING sum(quantity) > max(limit_per_customer)",
        )

    def counters_count_what_is_held(self) -> None:
        for row in self.world.rows(
            "flash_sale",
            "SELECT q.*, sum(CASE WHEN released_ms IS NULL THEN quantity ELSE 0 END) AS held, "
            "count(released_ms) AS releases FROM quotas q LEFT JOIN claims c USING (sale_id, customer_id) "
            "GROUP BY q.sale_id, q.customer_id",
        ):
            assert row["given_back"] == min(row["releases"], 3), dict(row)
            assert row["used"] == row["held"] if row["releases"] <= 3 else row["used"] > row["held"], dict(row)

    def every_promise_is_a_row(self) -> None:
        rows = {row["order_id"]: row for row in self.world.rows("flash_sale", "SELECT * FROM claims")}
        for (sale_id, customer_id, key), claim in self.promised.items():
            row = rows.pop(claim.order_id)
            assert (row["sale_id"], row["customer_id"], row["key"]) == (sale_id, customer_id, key)
            assert row["quantity"] == claim.quantity
        assert not rows, "claims nobody was told of"

    def orders_live_lawfully(self) -> None:
        stands: dict[int, str | None] = {}
        for move in self.world.rows("orders", "SELECT * FROM order_moves ORDER BY order_id, n"):
            assert move["from_status"] == stands.get(move["order_id"])
            assert move["to_status"] in LIFE[move["from_status"]]
            stands[move["order_id"]] = move["to_status"]
        assert {row["id"]: row["status"] for row in self.world.rows("orders", "SELECT * FROM orders")} == stands

    def paid_orders_are_paid_for(self) -> None:
        """The order's payment is its own, over its total, and the provider has (or had) the money."""
        seen: set[int] = set()
        for row in self.world.rows("orders", "SELECT * FROM orders WHERE payment_id IS NOT NULL"):
            intent = self.world.provider.intents[row["payment_id"]]
            assert intent.status in ("captured", "refunded")
            assert (intent.order_id, intent.amount, intent.currency) == (row["id"], row["total_amount"], "CNY")
            assert row["payment_id"] not in seen
            seen.add(row["payment_id"])
            if row["status"] == "paid":
                assert intent.status == "captured", "the order is paid, but its money went back"

    def the_ledger_balances(self) -> None:
        assert not self.world.rows(
            "payments", "SELECT 1 FROM ledger_entries GROUP BY transaction_id HAVING sum(amount) <> 0"
        )
        owed = self.world.one(
            "payments", "SELECT coalesce(-sum(amount), 0) FROM ledger_entries WHERE account = 'customers'"
        )
        held = self.world.one("payments", "SELECT coalesce(sum(captured_amount - refunded_amount), 0) FROM payments")
        assert owed == held

    def no_money_moves_twice(self) -> None:
        lines = self.world.provider.lines
        assert len({(line.kind, line.payment_id) for line in lines}) == len(lines)

    # --- what holds when everything has arrived ---------------------------------------------------------------------

    @rule()
    @precondition(lambda self: self.busy_steps > 15)
    def everything_arrives(self) -> None:
        self.busy_steps = 0
        self.run(self.world.settle())
        self._contexts_agree()
        broken = [check for check in self.run(self.world.checks()) if check.verdict != "holds"]
        assert not broken

    def _contexts_agree(self) -> None:
        """The same as the audit says, in other words."""
        orders = {row["id"]: row for row in self.world.rows("orders", "SELECT * FROM orders")}
        claims = {row["order_id"]: row for row in self.world.rows("flash_sale", "SELECT * FROM claims")}
        assert orders.keys() == claims.keys()
        for order_id, order in orders.items():
            assert order["status"] in ("paid", "cancelled", "refunded"), "everything else is under way"
            assert (claims[order_id]["released_ms"] is None) == (order["status"] == "paid")
        kept = {i.order_id: i.payment_id for i in self.world.provider.intents.values() if i.status == "captured"}
        paid = {row["id"]: row["payment_id"] for row in orders.values() if row["status"] == "paid"}
        assert kept == paid
        for context in ("flash_sale", "orders", "payments"):
            assert self.world.one(context, "SELECT count(*) FROM parked_events") == 0


def _shopper(claim: Claim) -> Principal:
    return Principal(claim.customer_id, "customer")


def test_no_history_breaks_the_shop(tmp_path_factory: pytest.TempPathFactory) -> None:
    Shop.template = tmp_path_factory.mktemp("migrated")
    asyncio.run(migrated_files(Shop.template))
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize="SIMULATION_RANDOM" not in os.environ,
            # Shrinking takes minutes; a history of fifty steps can be read.
            phases=[Phase.generate, *([Phase.shrink] if "SIMULATION_SHRINK" in os.environ else [])],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
