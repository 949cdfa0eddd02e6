"""What couriers do: be there, answer offers, carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from doorbuster.contexts.delivery import changing, couriers, offering, store
from doorbuster.contexts.delivery.model import Courier, Offer, Position, PositionEntry, Task
from doorbuster.contexts.delivery.stepping import Steps
from doorbuster.contracts.delivery import (
    CourierAssigned,
    CourierBusy,
    CourierOffline,
    MoveNotPossible,
    OfferGone,
    OfferNotFound,
    TaskNotFound,
    TooManyPositions,
)
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.places import Place
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "delivery"


class Riding:
    def __init__(self, platform: Platform, database: Database, steps: Steps) -> None:
        self._platform = platform
        self._database = database
        self._steps = steps
        self._settings = platform.settings.delivery

    async def presence(self, principal: Principal, *, online: bool) -> Courier:
        """Comes or goes; who goes is asked nothing any more. Raises CourierBusy."""
        courier_id, now_ms = principal.account_id, self._platform.clock.now_ms()

        def come(tx: Tx) -> Courier:
            couriers.put_online(tx, courier_id, now_ms)
            return _found(tx, courier_id)

        def go(tx: Tx) -> Courier:
            if couriers.find(tx, courier_id) is None:
                couriers.put_online(tx, courier_id, now_ms)
            offer = offering.open_of_courier(tx, courier_id)
            if offer is not None:
                store.lock(tx, [offer.task_id])
            if not couriers.put_offline(tx, courier_id):
                raise CourierBusy
            # Nobody asks them from here on: the round that would needs their row, which is locked.
            offer = offering.open_of_courier(tx, courier_id)
            if offer is not None:
                offering.end(tx, offer.id, "declined", now_ms)
                self._not_again(tx, offer, now_ms)
            return _found(tx, courier_id)

        courier = await self._database.write(come if online else go)
        self._platform.wakeups.wake(NAME)
        return courier

    async def report(self, principal: Principal, seen: Sequence[tuple[Place, int]]) -> Courier:
        """Where they are and have been, with how many ms ago. Shown to those whose orders they carry.

        Raises CourierOffline, TooManyPositions.
        """
        courier_id, now_ms = principal.account_id, self._platform.clock.now_ms()
        in_order = sorted((Position(at, now_ms - ago_ms) for at, ago_ms in seen), key=lambda each: each.at_ms)

        def work(tx: Tx) -> Courier:
            carried = [task.id for task in store.carried_by(tx, courier_id)]
            store.lock(tx, carried)
            courier = couriers.locked(tx, courier_id)
            if courier is None or not courier.online:
                raise CourierOffline
            if now_ms - courier.heard_ms < self._settings.position_every_ms:
                raise TooManyPositions(f"one report per {self._settings.position_every_ms} ms")
            couriers.put_positions(tx, courier, in_order, now_ms)
            newest = in_order[-1]
            entry = PositionEntry(newest.at.latitude, newest.at.longitude, rfc3339(newest.at_ms))
            for task in store.carried_by(tx, courier_id):
                if task.id in carried:  # one assigned just now is not locked here: its turn is the next report
                    store.tell(tx, task.id, entry, now_ms)
            return _found(tx, courier_id)

        courier = await self._database.write(work)
        self._platform.wakeups.wake(NAME)
        return courier

    async def offer(self, principal: Principal) -> tuple[Offer, Task] | None:
        """What they are asked now, if anything."""
        now_ms = self._platform.clock.now_ms()

        def work(tx: Tx) -> tuple[Offer, Task] | None:
            offer = offering.open_of_courier(tx, principal.account_id)
            if offer is None or offer.expires_ms <= now_ms:
                return None
            task = store.find(tx, offer.task_id)
            return None if task is None else (offer, task)

        return await self._database.read(work)

    async def tasks(self, principal: Principal) -> Sequence[Task]:
        """What they carry; at most the load that the settings allow."""
        return await self._database.read(lambda tx: store.carried_by(tx, principal.account_id))

    async def accept(self, principal: Principal, offer_id: int) -> Task:
        """The task is theirs. Accepting again changes nothing, as long as it still is.

        Raises OfferNotFound (also another courier's), OfferGone.
        """
        courier_id = principal.account_id

        def work(tx: Tx) -> Task:
            now_ms = self._platform.clock.now_ms()
            offer = self._locked_offer(tx, courier_id, offer_id)
            task = store.find(tx, offer.task_id)
            assert task is not None, "tasks are never deleted"
            if offer.status == "accepted" and task.courier_id == courier_id:
                return task
            if offer.status == "open" and offer.expires_ms <= now_ms:
                raise OfferGone(status="expired")
            if offer.status != "open" or task.status != "ready":
                raise OfferGone(status=offer.status)
            if not couriers.load_one(tx, courier_id, self._settings.load_max):
                raise OfferGone("you carry as much as you may", status=offer.status)
            offering.end(tx, offer_id, "accepted", now_ms)
            actor, cause = f"account {courier_id}", f"offer {offer_id}"
            assigned = store.move(
                tx, task, "assigned", who="courier", actor=actor, cause=cause, now_ms=now_ms, courier_id=courier_id
            )
            assert assigned is not None, "it is locked"
            emit(tx, [CourierAssigned(task.id, task.customer_id, courier_id)], now_ms)
            changing.show(tx, task.id, "assigned", now_ms)
            crash_point("delivery.accepted-not-committed")
            return assigned

        return await self._written(work)

    async def decline(self, principal: Principal, offer_id: int) -> None:
        """Somebody else is asked. Declining again changes nothing. Raises OfferNotFound, OfferGone."""
        courier_id = principal.account_id

        def work(tx: Tx) -> None:
            now_ms = self._platform.clock.now_ms()
            offer = self._locked_offer(tx, courier_id, offer_id)
            if offer.status == "accepted":
                raise OfferGone(status=offer.status)
            if offering.end(tx, offer_id, "declined", now_ms):
                self._not_again(tx, offer, now_ms)

        await self._database.write(work)
        self._platform.wakeups.wake(NAME)

    async def pick_up(self, principal: Principal, task_id: int) -> Task:
        """See stepping.Steps.take."""
        return await self._steps.take(principal.account_id, task_id, "picking_up")

    async def deliver(self, principal: Principal, task_id: int) -> Task:
        """See stepping.Steps.take."""
        return await self._steps.take(principal.account_id, task_id, "delivering")

    async def give_up(self, principal: Principal, task_id: int) -> Task:
        """Gives a task back before the pick-up. Raises TaskNotFound, MoveNotPossible."""
        courier_id = principal.account_id

        def work(tx: Tx) -> Task:
            now_ms = self._platform.clock.now_ms()
            task = store.locked(tx, task_id)
            if task is None or task.courier_id != courier_id:
                raise TaskNotFound
            if task.status != "assigned" or task.step is not None:
                raise MoveNotPossible(status=task.status)
            ready = changing.take_back(
                tx,
                task,
                who="courier",
                actor=f"account {courier_id}",
                cause="gave up",
                now_ms=now_ms,
                excluded_until_ms=now_ms + self._settings.excluded_s * 1000,
            )
            assert ready is not None, "it is locked"
            return ready

        return await self._written(work)

    def _locked_offer(self, tx: Tx, courier_id: int, offer_id: int) -> Offer:
        """One's own, as it stays until the end of the transaction. Raises OfferNotFound."""
        offer = offering.find(tx, offer_id)
        if offer is None or offer.courier_id != courier_id:
            raise OfferNotFound
        store.lock(tx, [offer.task_id])
        now = offering.find(tx, offer_id)
        assert now is not None, "offers are never deleted"
        return now

    def _not_again(self, tx: Tx, offer: Offer, now_ms: int) -> None:
        store.exclude(tx, [(offer.task_id, offer.courier_id)], now_ms + self._settings.excluded_s * 1000)

    async def _written(self, work: Callable[[Tx], Task]) -> Task:
        task = await self._database.write(work)
        self._platform.wakeups.wake(NAME)
        return task


def _found(tx: Tx, courier_id: int) -> Courier:
    courier = couriers.find(tx, courier_id)
    assert courier is not None, "couriers are never deleted"
    return courier
