"""How the audit looks: what does not match is a suspect first, and a breach only if nothing under way explains it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from doorbuster.contracts.audit import Check, ClaimFact, OrderFact, PaymentFact
from doorbuster.kernel.money import Money
from doorbuster.lab.audit.between import Flows, check_between
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.bus.outbox import START, Position
from doorbuster.platform.bus.progress import Flow

TOTAL, NOTHING = Money(990, "CNY"), Money(0, "CNY")
SOMEBODY = Consumer("somebody", "somewhere", (), lambda _tx, _envelopes: None)
CLAIM = ClaimFact(1, 7, TOTAL, released=False, pay_by_ms=0)


def order(status: str, payment_id: int | None = None, order_id: int = 1, back: Money = NOTHING) -> OrderFact:
    return OrderFact(order_id, 7, status, TOTAL, payment_id, 3, (), back, sent_off=False)


def payment(status: str, payment_id: int = 5, order_id: int = 1, back: Money = NOTHING) -> PaymentFact:
    return PaymentFact(payment_id, order_id, TOTAL, status, back)


@dataclass
class Books:
    """The facts of three contexts, as they are at each look: the last of a list stays."""

    orders: list[list[OrderFact]]
    payments: list[PaymentFact] = field(default_factory=list)
    claims: list[ClaimFact] = field(default_factory=lambda: [CLAIM])
    arrives: bool = True
    moves: bool = True
    waits: int = 0
    consumer: Consumer = SOMEBODY

    async def claim_facts(self, after: int = 0) -> AsyncIterator[Sequence[ClaimFact]]:
        yield self.claims

    async def claim_facts_of(self, order_ids: Sequence[int]) -> Sequence[ClaimFact]:
        return [claim for claim in self.claims if claim.order_id in order_ids]

    async def order_facts(self, after: int = 0) -> AsyncIterator[Sequence[OrderFact]]:
        yield self.orders[-1]

    async def order_facts_of(self, order_ids: Sequence[int]) -> Sequence[OrderFact]:
        now = self.orders.pop(0) if len(self.orders) > 1 else self.orders[0]
        return [fact for fact in now if fact.order_id in order_ids]

    async def captured_facts(self, after: int = 0) -> AsyncIterator[Sequence[PaymentFact]]:
        yield self.payments

    async def captured_facts_of(self, payment_ids: Sequence[int]) -> Sequence[PaymentFact]:
        return [fact for fact in self.payments if fact.payment_id in payment_ids]

    async def end(self) -> Position:
        return START

    async def caught_up(self, position: Position, at_most_s: float) -> bool:
        self.waits += 1
        return self.arrives

    async def stands_still(self, for_s: float) -> bool:
        return not self.arrives and not self.moves


async def checks(books: Books) -> dict[str, Check]:
    flow = cast("Flow", books)
    return {check.name: check for check in await check_between(books, books, books, Flows(flow, flow, flow, flow))}


ORDERED, PAID = "every acknowledged claim has its order", "captures = paid orders"
CAPTURED = "no paid order without a capture"


async def test_what_agrees_is_looked_at_once() -> None:
    books = Books([[order("paid", 5)]], [payment("captured")])
    assert {check.verdict for check in (await checks(books)).values()} == {"holds"}
    assert books.waits == 0


async def test_what_was_under_way_and_has_arrived_holds() -> None:
    books = Books([[], [order("pending_payment")]])
    check = (await checks(books))[ORDERED]
    assert (check.verdict, check.detail) == ("holds", "1 claims, 1 were under way")
    assert books.waits == 1


async def test_what_is_wrong_in_the_same_words_after_everything_arrived_is_broken() -> None:
    check = (await checks(Books([[]])))[ORDERED]
    assert (check.verdict, check.breaches) == ("broken", ("claim 1 has no order",))


async def test_while_a_consumer_is_behind_nothing_is_broken_yet() -> None:
    check = (await checks(Books([[]], arrives=False)))[ORDERED]
    assert (check.verdict, check.ok) == ("in flight", True)


async def test_a_consumer_that_nobody_runs_is_named() -> None:
    check = (await checks(Books([[]], arrives=False, moves=False)))[ORDERED]
    assert check.verdict == "broken"
    assert "the consumer somebody stands still" in check.breaches[0]


async def test_what_is_wrong_in_other_words_has_moved_and_is_looked_at_again() -> None:
    captured = [payment("captured")]
    # Not paid yet; then paid and cancelled between two reads; then all is told.
    moving = [[], [order("pending_payment")], [order("refunding", 5)], [order("paid", 5)]]
    books = Books(moving, captured)
    check = (await checks(books))[PAID]
    assert check.verdict == "holds"
    assert books.waits > 1


async def test_an_order_and_its_payment_that_stand_apart_are_named() -> None:
    apart = {
        ("captured", "refunding"): "payment 5 is captured, but order 1 is refunding",
        ("refunded", "paid"): "payment 5 is refunded, but order 1 is paid",
        ("refunding", "paid"): "payment 5 is refunding, but order 1 is paid",
        ("refunded", "refunding"): "payment 5 is refunded, but order 1 is refunding",
    }
    for (of_payment, of_order), words in apart.items():
        check = (await checks(Books([[order(of_order, 5)]], [payment(of_payment)])))[PAID]
        assert (check.verdict, check.breaches) == ("broken", (words,))


async def test_one_payment_for_two_orders_is_named() -> None:
    both = [order("paid", 5), order("paid", 5, order_id=2)]
    check = (await checks(Books([both], [payment("captured")])))[CAPTURED]
    assert check.breaches == ("order 2 counts as paid by payment 5 of order 1",)


async def test_money_that_an_order_gave_back_and_its_payment_did_not_is_named() -> None:
    some = Money(90, "CNY")
    check = (await checks(Books([[order("paid", 5, back=some)]], [payment("captured")])))[PAID]
    assert check.breaches == ("order 1 gives 90 back, payment 5 0",)
    arrived = Books([[order("paid", 5, back=some)]], [payment("captured", back=some)])
    assert (await checks(arrived))[PAID].verdict == "holds"
