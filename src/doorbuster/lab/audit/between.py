"""Checks between contexts: claims and orders, orders and payments."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from doorbuster.contracts.audit import (
    AuditsClaims,
    AuditsOrders,
    AuditsPayments,
    Check,
    ClaimFact,
    OrderFact,
    PaymentFact,
)
from doorbuster.lab.audit.looking import check_facts
from doorbuster.platform.bus.progress import Flow

GIVEN_BACK = frozenset({"cancelled", "refunding", "refunded"})
STANDS = {
    "captured": frozenset({"paid", "shipped", "delivering", "completed"}),
    "refunding": frozenset({"refunding"}),
    "refunded": frozenset({"refunded"}),
}
"""Where an order may stand while the payment that paid it stands where the key says."""


class Flows(Struct, frozen=True):
    """Who carries what, in the order in which effects follow causes."""

    claims_to_orders: Flow
    payments_to_orders: Flow
    orders_to_payments: Flow
    orders_to_flash_sale: Flow


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

    return await check_facts(
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

    return await check_facts(
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
        # What had been sent off went back to the warehouse, if at all, and not on sale again.
        cancelled = [
            fact.order_id for fact in facts if fact.from_sale and fact.status in GIVEN_BACK and not fact.sent_off
        ]
        kept = [claim.order_id for claim in await claims.claim_facts_of(cancelled) if not claim.released]
        return {order_id: f"order {order_id} is cancelled, but its units are still held" for order_id in kept}

    return await check_facts(
        "cancelled orders gave their units back",
        "orders",
        orders.order_facts(),
        wrong,
        orders.order_facts_of,
        [flows.orders_to_flash_sale],
    )


async def _captures_paid_orders(orders: AuditsOrders, payments: AuditsPayments, flows: Flows) -> Check:
    """Cause: money came in. Effect: it pays its order, less what the order has given back, or is on its way back."""

    async def wrong(facts: Sequence[PaymentFact]) -> dict[int, str]:
        found = {order.order_id: order for order in await orders.order_facts_of([fact.order_id for fact in facts])}
        return {
            fact.payment_id: words for fact in facts if (words := _capture_and_order(fact, found.get(fact.order_id)))
        }

    return await check_facts(
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
        if payment.refund_requested != order.refund_requested:
            asked, gives = order.refund_requested.amount, payment.refund_requested.amount
            return f"order {order.order_id} gives {asked} back, payment {payment.payment_id} {gives}"
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

    return await check_facts(
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
