"""From a begun checkout to an order, through any crash.

    begun      row `placing`, coupon counted, cart closed          one transaction of ours
    held       inventory has set the units aside                   idempotent by the order's id
    ordered    orders have written the order                       idempotent by the order's id
    placed     row `placed`                                        one transaction of ours

Who drives a checkout has it until `due_ms`; then a sweeper takes it over as another attempt. Once the order is written
there is no way back: orders have the last word, so whoever finds the order finishes as placed. Giving up goes the
other way round: row `failing` (nobody can finish as placed any more), order cancelled if there is one, units released,
row `failed` with the coupon given back and the cart open. A driver that was believed dead and places its order after
that finds out when it wants to finish, and cancels it; should it die before, the sweeper, which looks at a failed
checkout once more after WATCH_MS, does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import structlog
from msgspec.structs import replace

from doorbuster.contexts.checkout import store
from doorbuster.contexts.checkout.desk import Desk
from doorbuster.contexts.checkout.model import Checkout
from doorbuster.contexts.checkout.store import Failure
from doorbuster.contracts.checkout import CheckoutFailed, CheckoutNotFound
from doorbuster.contracts.inventory import Hold, HoldRequest, Inventory, OutOfStock, SkuUnits
from doorbuster.contracts.orders import Order, OrderDraft, Orders
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy, ShopError
from doorbuster.platform.pools import outcomes_of
from doorbuster.platform.settings.tree import CheckoutSettings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.telemetry.crash_points import crash_point

LEASE_MS = 10_000
"""How long a driver has a checkout to itself: longer than a statement may take."""
RETRY_MS = 500
"""Pause before a sweeper goes on with what a neighbour was too busy for."""
WATCH_MS = 60_000
HOLD_MARGIN_MS = 60_000
"""Units are held a little longer than the order may be paid, so that the order's end releases them, not the clock's."""
SWEEP_S, OUTAGE_PAUSE_S = 0.25, 2.0
PAGE = 100
AT_ONCE = 256
"""Holds and orders in one question to a neighbour."""
TIME_LIMIT = "time-limit"

log = structlog.get_logger("checkout")


class Saga:
    def __init__(
        self,
        database: Database,
        clock: Clock,
        settings: CheckoutSettings,
        desk: Desk,
        inventory: Inventory,
        orders: Orders,
    ) -> None:
        self._database = database
        self._clock = clock
        self._limit_ms = settings.placing_limit_s * 1000
        self._desk = desk
        self._inventory = inventory
        self._orders = orders
        self._holding: GroupCommit[HoldRequest, Hold] = GroupCommit(inventory.hold_many, max_batch=AT_ONCE)
        self._placing: GroupCommit[OrderDraft, Order] = GroupCommit(orders.place_many, max_batch=AT_ONCE)
        self._failing: GroupCommit[Failure, bool] = GroupCommit(self._fail_many, max_batch=AT_ONCE)

    async def drive(self, checkout: Checkout) -> Checkout:
        """Carries a begun checkout through, as its first driver or a later one; returns it placed or still placing.

        Raises OutOfStock, CheckoutFailed: then it has failed, and its cart is open again.
        """
        try:
            await self._holding.submit(_wanted(checkout))
            crash_point("checkout.held")
            await self._placing.submit(checkout.draft)
            crash_point("checkout.ordered")
            return await self._finish(checkout)
        except Busy as busy:
            log.info("checkout waits", order_id=checkout.id, error=repr(busy))
            return await self._leave(checkout)
        except ShopError as refused:
            return await self._refused(checkout, refused)

    async def _finish(self, checkout: Checkout) -> Checkout:
        """The order is written. Raises CheckoutFailed if the checkout was given up meanwhile."""
        if await self._desk.placed(checkout.id):
            crash_point("checkout.placed")
            return replace(checkout, stage="placed")
        now = await self.row(checkout.id)
        if now.stage == "placing":  # somebody took it over in the same moment; the row's address had changed
            return await self._finish(now)
        if now.stage == "placed":
            return now
        log.warning("an order came after its checkout was given up", order_id=checkout.id)
        await self._orders.cancel_unpaid(checkout.id, "checkout-failed")
        raise CheckoutFailed(reason=now.reason or TIME_LIMIT, order_id=checkout.id)

    async def _leave(self, checkout: Checkout) -> Checkout:
        """For a sweeper to go on with, soon."""
        due_ms = self._clock.now_ms() + RETRY_MS
        try:
            await self._database.write(lambda tx: store.look_again(tx, checkout, due_ms))
        except Busy as outage:  # it is taken over when its lease ends
            log.warning("checkout waits for its lease", order_id=checkout.id, error=repr(outage))
        return checkout

    async def _refused(self, checkout: Checkout, refused: ShopError) -> Checkout:
        """A neighbour said no, for good."""
        failure = Failure(checkout, refused.slug, _skus_of(refused))
        try:
            if isinstance(refused, OutOfStock) and checkout.attempt == 1:
                # Nothing is held, and nobody but us has asked anybody for anything: there is nothing to let go.
                if await self._failing.submit(failure):
                    self._desk.forget(checkout.cart_id)
                    crash_point("checkout.failed")
                    raise refused
                return await self.row(checkout.id)
            ended = await self._give_up(failure)
        except Busy as outage:
            log.warning("giving up waits", order_id=checkout.id, error=repr(outage))
            return await self._leave(checkout)
        if ended.stage == "failed":
            raise refusal_of(ended)
        return ended

    async def _give_up(self, failure: Failure) -> Checkout:
        if not await self._database.write(lambda tx: store.give_up(tx, failure)):
            return await self.row(failure.checkout.id)
        crash_point("checkout.failing")
        return await self._let_go(failure)

    async def _let_go(self, failure: Failure) -> Checkout:
        """Of a failing checkout. Raises Busy: a sweeper goes on."""
        checkout = failure.checkout
        order = await self._orders.cancel_unpaid(checkout.id, "checkout-failed")
        crash_point("checkout.order-cancelled")
        now_ms = self._clock.now_ms()
        if order is not None and order.status != "cancelled":
            log.warning("an order that was given up is alive", order_id=checkout.id, status=order.status)
            await self._database.write(lambda tx: store.place_after_all(tx, checkout, now_ms))
            return await self.row(checkout.id)
        await self._inventory.release_many([checkout.id])
        crash_point("checkout.released")
        ended = Failure(checkout, failure.reason, failure.sku_ids, now_ms + WATCH_MS)
        await self._failing.submit(ended)
        self._desk.forget(checkout.cart_id)
        crash_point("checkout.failed")
        return await self.row(checkout.id)

    async def _fail_many(self, failures: Sequence[Failure]) -> Sequence[bool]:
        now_ms = self._clock.now_ms()
        return await self._database.write(lambda tx: store.fail(tx, failures, now_ms))

    async def row(self, order_id: int) -> Checkout:
        """Raises CheckoutNotFound."""
        found = await self._database.read(lambda tx: store.find_checkout(tx, order_id))
        if found is None:
            raise CheckoutNotFound
        return found

    # --- after a crash ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            pause_s = SWEEP_S
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("the sweep of checkouts waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def sweep(self) -> int:
        """Takes over what nobody drives any more and carries it on; returns how many it took. Raises Busy.

        At most PAGE at a time; the next sweep goes on.
        """
        now_ms = self._clock.now_ms()
        taken = await self._database.write(lambda tx: store.take_due(tx, now_ms, LEASE_MS, PAGE))
        if not taken:
            return 0
        crash_point("checkout.taken-over")
        placing = [checkout.id for checkout in taken if checkout.stage == "placing"]
        ordered = {order.id for order in await self._orders.find_many(placing)} if placing else set[int]()
        outcomes = await outcomes_of(
            PAGE, taken, lambda checkout: self._carry_on(checkout, is_ordered=checkout.id in ordered)
        )
        for checkout, outcome in zip(taken, outcomes, strict=True):
            if isinstance(outcome, Busy):
                await self._leave(checkout)
            elif isinstance(outcome, ShopError):
                log.info("checkout has failed", order_id=checkout.id, reason=outcome.slug)
            elif isinstance(outcome, Exception):
                log.error("checkout cannot be carried on", order_id=checkout.id, exc_info=outcome)
        return len(taken)

    async def _carry_on(self, checkout: Checkout, *, is_ordered: bool) -> None:
        if checkout.stage == "failed":
            await self._look_once_more(checkout)
        elif checkout.stage == "failing":
            await self._let_go(Failure(checkout, checkout.reason or TIME_LIMIT, checkout.reason_skus))
        elif is_ordered:
            await self._finish(checkout)
        elif self._clock.now_ms() - checkout.begun_ms >= self._limit_ms:
            await self._give_up(Failure(checkout, TIME_LIMIT))
        else:
            await self.drive(checkout)

    async def _look_once_more(self, checkout: Checkout) -> None:
        """Cancels the order of a failed checkout, should it have been written after all."""
        order = await self._orders.cancel_unpaid(checkout.id, "checkout-failed")
        if order is not None and order.status != "cancelled":
            log.error("a failed checkout has a living order", order_id=checkout.id, status=order.status)
            now_ms = self._clock.now_ms()
            await self._database.write(lambda tx: store.place_after_all(tx, checkout, now_ms))
            return
        await self._database.write(lambda tx: store.look_again(tx, checkout, None))

    async def close(self) -> None:
        await self._holding.close()
        await self._placing.close()
        await self._failing.close()


def _wanted(checkout: Checkout) -> HoldRequest:
    lines = tuple(SkuUnits(line.sku_id, line.quantity) for line in checkout.draft.lines)
    return HoldRequest(checkout.id, lines, checkout.draft.pay_by_ms + HOLD_MARGIN_MS)


def _skus_of(refused: ShopError) -> tuple[int, ...]:
    """Those that a refusal names, as numbers or as they are in JSON."""
    found = refused.extra.get("sku_ids")
    if not isinstance(found, (list, tuple)):
        return ()
    named = [str(each) for each in cast("Sequence[object]", found)]
    return tuple(int(each) for each in named if each.isdecimal())


def refusal_of(failed: Checkout) -> ShopError:
    """What the customer of a failed checkout is told."""
    if failed.reason == OutOfStock.slug:
        return OutOfStock(sku_ids=[str(sku_id) for sku_id in failed.reason_skus])
    return CheckoutFailed(reason=failed.reason or TIME_LIMIT, order_id=failed.id)
