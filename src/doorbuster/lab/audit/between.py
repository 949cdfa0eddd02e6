"""Checks between contexts: claims and orders, orders and payments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from doorbuster.contracts.audit import (
    BREACHES_SHOWN,
    FACTS_PAGE,
    AuditsClaims,
    AuditsOrders,
    AuditsPayments,
    Check,
    ClaimFact,
    OrderFact,
    PaymentFact,
)
from doorbuster.platform.bus.progress import Flow

SUSPECTS_MAX = 10_000
CATCH_UP_S = 15.0
STANDS_STILL_S = 6.0
"""Longer than a relay pauses when a database is away."""
LOOKS_MAX = 3
"""How often a suspect is looked at again while it keeps moving."""
GIVEN_BACK = frozenset({"cancelled", "refunding", "refunded"})
STANDS = {
    "captured": frozenset({"paid", "shipped", "delivering", "completed"}),
    "refunding": frozenset({"refunding"}),
    "refunded": frozenset({"refunded"}),
}
"""Where an order may stand while the payment that paid it stands where the key says."""

F = TypeVar("F", ClaimFact, OrderFact, PaymentFact)


class Flows(Struct, frozen=True):
    """Who carries what, in the order in which effects follow causes."""

    claims_to_orders: Flow
    payments_to_orders: Flow
    orders_to_payments: Flow
    orders_to_flash_sale: Flow


class _Tally:
    """Counts facts, keeps the suspects among them, and looks again."""

    def __init__(self) -> None:
        self.seen = 0
        self.suspects: dict[int, str] = {}
        """What is wrong with each, in words."""
        self.overflowed = False

    def suspect(self, fact_id: int, words: str) -> None:
        if len(self.suspects) < SUSPECTS_MAX:
            self.suspects[fact_id] = words
        else:
            self.overflowed = True


async def check_between(
    claims: AuditsClaims, orders: AuditsOrders, payments: AuditsPayments, flows: Flows
) -> Sequence[Check]:
    return [
        await _claims_became_orders(claims, orders, flows),
        await _orders_have_claims(claims, orders),
        await _cancelled_units_came_back(claims, orders, flows),
        await _captures_paid_orders(orders, payments, flows),
        await _paid_orders_were_captured(orders, payments),
    ]


async def _claims_became_orders(claims: AuditsClaims, orders: AuditsOrders, flows: Flows) -> Check:
    """Cause: the claim. Effect: an order of the same customer, for the same total."""

    async def wrong(facts: Sequence[ClaimFact]) -> dict[int, str]:
        found = {order.order_id: order for order in await orders.order_facts_of([fact.order_id for fact in facts])}
        return {fact.order_id: words for fact in facts if (words := _claim_and_order(fact, found.get(fact.order_id)))}

    return await _check(
        "every acknowledged claim has its order",
        "claims",
        claims.claim_facts(),
        wrong,
        claims.claim_facts_of,
        [flows.claims_to_orders],
    )


def _claim_and_order(claim: ClaimFact, order: OrderFact | None) -> str:
    if order is None:
        return f"claim {claim.order_id} has no order"
    if (order.customer_id, order.total) != (claim.customer_id, claim.total):
        return f"order {order.order_id} differs from its claim in customer or total"
    if claim.released and order.status not in GIVEN_BACK:
        return f"claim {claim.order_id} is released, but its order is {order.status}"
    return ""


async def _orders_have_claims(claims: AuditsClaims, orders: AuditsOrders) -> Check:
    """Effect: the order, read first. Cause: its claim, which must be there already."""

    async def wrong(facts: Sequence[OrderFact]) -> dict[int, str]:
        of_sales = [fact.order_id for fact in facts if fact.from_sale]
        found = {claim.order_id for claim in await claims.claim_facts_of(of_sales)}
        return {order_id: f"order {order_id} has no claim" for order_id in of_sales if order_id not in found}

    return await _check(
        "no order without a claim",
        "orders",
        orders.order_facts(),
        wrong,
        orders.order_facts_of,
        [],
    )


async def _cancelled_units_came_back(claims: AuditsClaims, orders: AuditsOrders, flows: Flows) -> Check:
    """Cause: the order was cancelled. Effect: its claim is released."""

    async def wrong(facts: Sequence[OrderFact]) -> dict[int, str]:
        cancelled = [fact.order_id for fact in facts if fact.from_sale and fact.status in GIVEN_BACK]
        kept = [claim.order_id for claim in await claims.claim_facts_of(cancelled) if not claim.released]
        return {order_id: f"order {order_id} is cancelled, but its units are still held" for order_id in kept}

    return await _check(
        "cancelled orders gave their units back",
        "orders",
        orders.order_facts(),
        wrong,
        orders.order_facts_of,
        [flows.orders_to_flash_sale],
    )


async def _captures_paid_orders(orders: AuditsOrders, payments: AuditsPayments, flows: Flows) -> Check:
    """Cause: money came in. Effect: it pays its order, or is on its way back."""

    async def wrong(facts: Sequence[PaymentFact]) -> dict[int, str]:
        found = {order.order_id: order for order in await orders.order_facts_of([fact.order_id for fact in facts])}
        return {
            fact.payment_id: words for fact in facts if (words := _capture_and_order(fact, found.get(fact.order_id)))
        }

    return await _check(
        "captures = paid orders",
        "captures",
        payments.captured_facts(),
        wrong,
        payments.captured_facts_of,
        [flows.payments_to_orders, flows.orders_to_payments],
    )


def _capture_and_order(payment: PaymentFact, order: OrderFact | None) -> str:
    if order is None:
        return f"payment {payment.payment_id} was captured for an order that does not exist"
    if order.payment_id == payment.payment_id:
        if order.total != payment.amount:
            return f"payment {payment.payment_id} is not the total of order {order.order_id}"
        if order.status not in STANDS.get(payment.status, ()):
            return f"payment {payment.payment_id} is {payment.status}, but order {order.order_id} is {order.status}"
        return ""
    if payment.status in ("refunding", "refunded"):
        return ""
    return f"payment {payment.payment_id} was captured, but neither pays order {order.order_id} nor goes back"


async def _paid_orders_were_captured(orders: AuditsOrders, payments: AuditsPayments) -> Check:
    """Effect: the order is paid, read first. Cause: a capture of its own payment, which must be there already."""

    async def wrong(facts: Sequence[OrderFact]) -> dict[int, str]:
        paid = {fact.order_id: fact.payment_id for fact in facts if fact.payment_id is not None}
        captured = {payment.payment_id: payment for payment in await payments.captured_facts_of([*paid.values()])}
        return {
            order_id: words
            for order_id, payment_id in paid.items()
            if (words := _order_and_capture(order_id, captured.get(payment_id)))
        }

    return await _check(
        "no paid order without a capture",
        "orders",
        orders.order_facts(),
        wrong,
        orders.order_facts_of,
        [],
    )


def _order_and_capture(order_id: int, payment: PaymentFact | None) -> str:
    if payment is None:
        return f"order {order_id} counts as paid, but its payment was never captured"
    if payment.order_id != order_id:
        return f"order {order_id} counts as paid by payment {payment.payment_id} of order {payment.order_id}"
    return ""


async def _check(
    name: str,
    what: str,
    pages: AsyncIterator[Sequence[F]],
    wrong: Callable[[Sequence[F]], Awaitable[dict[int, str]]],
    facts_of: Callable[[Sequence[int]], Awaitable[Sequence[F]]],
    flows: Sequence[Flow],
) -> Check:
    """Goes through all pages, then looks again at the suspects once `flows` have caught up, one after the other.

    A breach is what is wrong in the same words before and after: whatever was under way then has arrived. What is
    wrong in other words has moved in between and is looked at again.
    """
    tally = _Tally()
    async for page in pages:
        tally.seen += len(page)
        for fact_id, words in (await wrong(page)).items():
            tally.suspect(fact_id, words)
    suspects = tally.suspects
    if not suspects:
        return Check(name, "holds", f"{tally.seen} {what}")
    for _ in range(LOOKS_MAX):
        settled = True
        for flow in flows:
            settled = await flow.caught_up(await flow.end(), CATCH_UP_S) and settled
        before, suspects = suspects, await _wrong_again(list(suspects), facts_of, wrong)
        breaches = [words for fact_id, words in suspects.items() if words == before[fact_id]]
        if not suspects:
            return Check(name, "holds", f"{tally.seen} {what}, {len(tally.suspects)} were under way")
        if not settled:
            break
        if breaches:
            more = " at least" if tally.overflowed else ""
            detail = f"{len(breaches)}{more} of {tally.seen} {what}"
            return Check(name, "broken", detail, tuple(breaches[:BREACHES_SHOWN]))
    still = [flow.consumer.name for flow in flows if await flow.stands_still(STANDS_STILL_S)]
    if still:
        words = [f"the consumer {consumer} stands still: is a server running?" for consumer in still]
        return Check(name, "broken", f"{len(suspects)} of {tally.seen} {what} wait", tuple(words))
    return Check(name, "in flight", f"{len(suspects)} of {tally.seen} {what} are still under way")


async def _wrong_again(
    suspects: Sequence[int],
    facts_of: Callable[[Sequence[int]], Awaitable[Sequence[F]]],
    wrong: Callable[[Sequence[F]], Awaitable[dict[int, str]]],
) -> dict[int, str]:
    """What is wrong with those of the suspects that are wrong still."""
    found: dict[int, str] = {}
    for start in range(0, len(suspects), FACTS_PAGE):
        found |= await wrong(await facts_of(suspects[start : start + FACTS_PAGE]))
    return found
