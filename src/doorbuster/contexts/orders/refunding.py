"""The use case of asking back some or all of what was paid, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from doorbuster.contexts.orders import asking_back, store
from doorbuster.contexts.orders.cancelling import cancelled
from doorbuster.contexts.orders.model import RefundAsked, RefundLine, Who, amount_of_refund, check_quantities
from doorbuster.contracts.orders import (
    GoodsReturned,
    Order,
    OrderNotRefundable,
    PaidLine,
    RefundInvalid,
    RefundTooLarge,
)
from doorbuster.kernel.events import Event
from doorbuster.kernel.money import Money
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point


class Refunded(Struct, frozen=True):
    """What a key of a refund is bound to."""

    n: int
    amount: int


def refund(tx: Tx, order_id: int, asked: RefundAsked, who: Who, actor: str, now_ms: int) -> Refunded:
    """Raises OrderNotRefundable, RefundTooLarge, RefundInvalid: then nothing is written."""
    # Counts nothing, but takes the order's lock: what is read next stays so.
    standing = asking_back.reserve(tx, order_id, 0)
    (now,) = store.find_many(tx, [order_id])
    if standing is None:
        raise OrderNotRefundable(status=now.status)
    units_refunded = asking_back.refunded_units(tx, order_id)
    amount = amount_of_refund(now, asked, units_refunded)
    if amount < 1:
        raise RefundInvalid("there is nothing to give back", amount=amount)
    check_quantities(now, asked, units_refunded)
    refunded = asking_back.reserve(tx, order_id, amount)
    if refunded is None:
        raise RefundTooLarge(refundable=now.total.amount - now.refunded.amount)
    whole = refunded == now.total.amount
    asked = _with_units(now, asked, units_refunded, whole=whole)
    assert now.payment_id is not None, "a paid order has a payment, by a check of the database"
    money = Money(amount, now.total.currency)
    n, request = asking_back.record(
        tx,
        order_id,
        now.payment_id,
        money,
        None,
        reason=asked.reason,
        actor=actor,
        now_ms=now_ms,
        restock=asked.restock,
        lines=asked.lines,
    )
    told: list[Event] = [request]
    if asked.restock and asked.lines:
        units = tuple(PaidLine(now.lines[line.n - 1].sku_id, line.quantity) for line in asked.lines)
        told.append(GoodsReturned(order_id, n, units))
    if whole:
        moved = store.move(
            tx, [order_id], now.status, "refunding", who=who, actor=actor, cause=request.cause, now_ms=now_ms
        )
        if now.status == "paid":  # nothing will be sent off any more: what was not returned comes back
            told += cancelled(tx, moved, who, was_paid=True)
    emit(tx, told, now_ms)
    crash_point("orders.refund-not-committed")
    return Refunded(n, amount)


def _with_units(now: Order, asked: RefundAsked, refunded: Mapping[int, int], *, whole: bool) -> RefundAsked:
    """`asked` with the units that come back to stock with it. Raises RefundInvalid."""
    if not asked.restock:
        return asked
    if now.status == "paid" and whole:
        return replace(asked, restock=False)  # nothing was sent off: the cancellation brings the units back
    if now.status == "paid" and now.sale_id is not None:
        raise RefundInvalid("nothing was sent off yet, and the units of a sale come back only all together: cancel it")
    if asked.lines:
        return asked
    if not whole:
        raise RefundInvalid("say which units are back in stock")
    left = [RefundLine(n, line.quantity - refunded.get(n, 0)) for n, line in enumerate(now.lines, start=1)]
    return replace(asked, lines=tuple(line for line in left if line.quantity > 0))
