"""Parcels: sent by the merchant, followed by the customer.

Sending is written down before orders are asked, who alone decide between it and a refund; a crash in between is found
by the sweeper, which goes on from the row.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from doorbuster.contexts.delivery import changing, shipping, store
from doorbuster.contexts.delivery.knowing import Knowing, actor_of, serves
from doorbuster.contexts.delivery.model import Shipment, Tracking
from doorbuster.contracts.delivery import MoveNotPossible, ParcelSent, ShipmentNotFound, ShipmentStatus
from doorbuster.contracts.orders import OrderNotShippable, Orders
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "delivery"
CAUSE = "parcel sent"
"""The same whenever orders are asked again: whose sending it was stands in the row."""


class ShipmentDraft(Struct, frozen=True):
    carrier: str
    tracking_number: str


class TrackingDraft(Struct, frozen=True):
    description: str
    location: str


class _Bound(Struct, frozen=True):
    """What a key of a shipment is bound to."""

    order_id: int


class Parcels:
    def __init__(self, platform: Platform, database: Database, orders: Orders, knowing: Knowing) -> None:
        self._platform = platform
        self._database = database
        self._orders = orders
        self._knowing = knowing

    async def send(self, principal: Principal, order_id: int, key: str, draft: ShipmentDraft) -> Shipment:
        """Hands a paid parcel to a carrier. Asking again with the same key carries on where it stands.

        Raises ShipmentNotFound, MoveNotPossible, OrderNotShippable (given back meanwhile), IdempotencyKeyReused,
        Unavailable (begun; it is carried on).
        """
        await self._knowing.ensure(order_id)
        now_ms = self._platform.clock.now_ms()

        def begin(tx: Tx) -> _Bound:
            if not shipping.begin(tx, order_id, draft.carrier, draft.tracking_number, actor_of(principal), now_ms):
                raise MoveNotPossible(status=_found(tx, order_id).status)
            return _Bound(order_id)

        def work(tx: Tx) -> None:
            store.lock(tx, [order_id])
            shipment = shipping.find(tx, order_id)
            if shipment is None or not serves(principal, shipment.merchant_id):
                raise ShipmentNotFound
            once(tx, f"shipment:{order_id}:{principal.account_id}", key, draft, _Bound, now_ms, lambda: begin(tx))

        await self._database.write(work)
        crash_point("delivery.parcel-sending")
        return await self.carry_on(order_id)

    async def carry_on(self, order_id: int) -> Shipment:
        """Ends a sending that was begun; one that has ended stays as it is. Raises OrderNotShippable, Unavailable."""
        shipment = await self._database.read(lambda tx: _found(tx, order_id))
        if shipment.status == "cancelled":
            raise OrderNotShippable(status="cancelled")
        if shipment.status != "sending":
            return shipment
        try:
            await self._orders.send_off(order_id, shipment.actor, CAUSE)
        except OrderNotShippable:
            await self._database.write(lambda tx: self._give_up(tx, order_id))
            raise
        crash_point("delivery.parcel-sent-off")
        sent = await self._database.write(lambda tx: self._finish(tx, order_id))
        self._platform.wakeups.wake(NAME)
        return sent

    def _give_up(self, tx: Tx, order_id: int) -> None:
        store.lock(tx, [order_id])
        shipping.cancel(tx, order_id, self._platform.clock.now_ms())

    def _finish(self, tx: Tx, order_id: int) -> Shipment:
        now_ms = self._platform.clock.now_ms()
        store.lock(tx, [order_id])
        sent = shipping.finish(tx, order_id, now_ms)
        if sent is None:  # somebody else has ended it
            return _found(tx, order_id)
        emit(tx, [ParcelSent(order_id, sent.customer_id, sent.carrier, sent.tracking_number)], now_ms)
        changing.show(tx, order_id, "sent", now_ms)
        return sent

    async def track(self, principal: Principal, order_id: int, key: str, draft: TrackingDraft) -> Tracking:
        """Something new of a parcel that was sent. Raises ShipmentNotFound, MoveNotPossible (not sent, or there is
        very much already), IdempotencyKeyReused."""
        now_ms = self._platform.clock.now_ms()

        def add(tx: Tx) -> Tracking:
            added = shipping.add_tracking(tx, order_id, now_ms, draft.description, draft.location)
            if added is None:
                raise MoveNotPossible(status=_found(tx, order_id).status)
            changing.show(tx, order_id, "tracking", now_ms)
            return added

        def work(tx: Tx) -> Tracking:
            store.lock(tx, [order_id])
            shipment = shipping.find(tx, order_id)
            if shipment is None or not serves(principal, shipment.merchant_id):
                raise ShipmentNotFound
            scope = f"tracking:{order_id}:{principal.account_id}"
            return once(tx, scope, key, draft, Tracking, now_ms, lambda: add(tx))

        added = await self._database.write(work)
        self._platform.wakeups.wake(NAME)
        return added

    async def parcel(self, principal: Principal, order_id: int) -> tuple[Shipment, Sequence[Tracking]]:
        """For its customer, its merchant, support. Raises ShipmentNotFound."""

        def work(tx: Tx) -> tuple[Shipment, Sequence[Tracking]]:
            shipment = shipping.find(tx, order_id)
            if shipment is None or not _may_see(principal, shipment):
                raise ShipmentNotFound
            return shipment, shipping.tracking_of(tx, order_id)

        await self._knowing.ensure(order_id)
        return await self._database.read(work)

    async def list_of(
        self, principal: Principal, status: ShipmentStatus, after: int | None, limit: int
    ) -> Page[Shipment]:
        """A merchant's own parcels, oldest first."""
        found = await self._database.read(
            lambda tx: shipping.list_of_merchant(tx, principal.account_id, status, after or 0, limit + 1)
        )
        return Page(found[:limit], found[limit - 1].order_id if len(found) > limit else None)


def _may_see(principal: Principal, shipment: Shipment) -> bool:
    return principal.account_id == shipment.customer_id or serves(principal, shipment.merchant_id)


def _found(tx: Tx, order_id: int) -> Shipment:
    shipment = shipping.find(tx, order_id)
    assert shipment is not None, "shipments are never deleted"
    return shipment
