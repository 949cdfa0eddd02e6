"""The city, step by step: move, cancel, sweep, dispatch, answer. What happened is in the log, which is then checked."""

from __future__ import annotations

import random
from math import cos, radians

from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask
from doorbuster.kernel.places import Place, distance_m
from doorbuster.lab.city.baselines import DISPATCHERS, ours
from doorbuster.lab.city.model import (
    BrokenCity,
    CityPlan,
    CityReport,
    Courier,
    Dispatcher,
    Entry,
    Kind,
    Leg,
    Order,
)
from doorbuster.lab.city.proof import check
from doorbuster.lab.city.report import report_on

_CENTRE = Place(31.2, 121.5)


def compare(seed: int, plan: CityPlan | None = None) -> list[CityReport]:
    """Every dispatcher on the same orders and couriers."""
    return [run_city(seed, dispatcher, name, plan) for name, dispatcher in DISPATCHERS.items()]


def run_city(
    seed: int, dispatcher: Dispatcher = ours, name: str = "doorbuster", plan: CityPlan | None = None
) -> CityReport:
    """Until every order has ended. Raises BrokenCity when an invariant fails."""
    plan = plan or CityPlan()
    city = City(seed, plan)
    city.run(dispatcher)
    check(city.log, city.orders, plan)
    return report_on(seed, name, city.log, city.couriers.values(), plan)


class City:
    def __init__(self, seed: int, plan: CityPlan) -> None:
        self._seed, self._plan, self._chance = seed, plan, random.Random(seed)
        self.log: list[Entry] = []
        hot = [self._spot(_CENTRE, 2500) for _ in range(3)]
        kitchens = [self._spot(self._chance.choice(hot), 700) for _ in range(plan.restaurants)]
        self.orders = {n: self._order(n, kitchens) for n in range(plan.orders)}
        self.couriers = {n: self._courier(n) for n in range(plan.couriers)}
        for order in sorted(self.orders.values(), key=lambda each: each.placed_ms):
            self.log.append(Entry(order.placed_ms, "placed", order.task.task_id, None, order.task.pick_up))

    def _spot(self, around: Place, spread_m: float) -> Place:
        north, east = self._chance.gauss(0, spread_m), self._chance.gauss(0, spread_m)
        return Place(
            around.latitude + north / 111_195, around.longitude + east / 111_195 / cos(radians(around.latitude))
        )

    def _order(self, number: int, kitchens: list[Place]) -> Order:
        chance, rush_ms = self._chance, self._plan.rush_s * 1000
        placed_ms = round(chance.triangular(0, rush_ms, rush_ms * 0.4))
        ready_ms = placed_ms + round(chance.uniform(300, 1200) * 1000)
        kitchen = chance.choice(kitchens)
        urgent = chance.random() < self._plan.urgent_share
        cancel = chance.random() < self._plan.cancel_share
        cancel_ms = placed_ms + chance.randrange(60_000, 1_200_000) if cancel else None
        task = OpenTask(number, kitchen, self._spot(kitchen, 1500), ready_ms, placed_ms, urgent, 0, frozenset())
        return Order(task, placed_ms, cancel_ms)

    def _courier(self, number: int) -> Courier:
        chance, plan = self._chance, self._plan
        late = chance.random() < 1 / 3
        online_ms = chance.randrange(plan.late_start_s * 1000) if late else 0
        gone = chance.random() < plan.gone_share and number > 0  # one stays, or an order might never end
        gone_ms = chance.randrange(online_ms, plan.rush_s * 1000) if gone else None
        spot = self._spot(_CENTRE, 3000)
        return Courier(number, spot, online_ms, gone_ms, idle_since_ms=online_ms)

    def run(self, dispatcher: Dispatcher) -> None:
        now_ms, end_ms = 0, (self._plan.rush_s + self._plan.give_up_s) * 1000
        while any(order.ended_ms is None for order in self.orders.values()):
            if now_ms > end_ms:
                raise BrokenCity("an order does not end")
            for courier in self.couriers.values():
                self._move(courier, now_ms)
            self._cancel(now_ms)
            self._sweep(now_ms)
            self._dispatch(dispatcher, now_ms)
            now_ms += self._plan.step_s * 1000

    def _move(self, courier: Courier, now_ms: int) -> None:
        order = None if courier.order_id is None else self.orders[courier.order_id]
        if courier.silent_ms is not None:
            return
        if order is not None and order.status == "assigned" and courier.due_ms <= now_ms:
            order.status = "picked_up"
            self._set_out(courier, order.task.pick_up, order.task.drop_off, courier.due_ms)
            self._tell(courier.due_ms, "picked_up", order, courier)
            courier.due_ms += self._travel_ms(order.task.pick_up, order.task.drop_off)
        if order is not None and order.status == "picked_up":
            if courier.due_ms > now_ms:
                return  # who carries something brings it, whatever happens to him later
            order.status, order.ended_ms = "delivered", courier.due_ms
            self._tell(courier.due_ms, "delivered", order, courier)
            courier.delivered += 1
            self._free(courier, courier.due_ms)
        if courier.gone_ms is not None and courier.gone_ms <= now_ms:
            self._stop(courier, now_ms)
            courier.silent_ms = now_ms
            self._tell(now_ms, "gone", None, courier)

    def _set_out(self, courier: Courier, start: Place, goal: Place, now_ms: int) -> None:
        courier.at, courier.leg = start, Leg(start, goal, now_ms, now_ms + self._travel_ms(start, goal))

    def _stop(self, courier: Courier, now_ms: int) -> None:
        courier.at, courier.leg = whereabouts(courier, now_ms), None

    def _free(self, courier: Courier, now_ms: int) -> None:
        self._stop(courier, now_ms)
        courier.order_id = courier.offer_until_ms = None
        courier.idle_since_ms = now_ms

    def _cancel(self, now_ms: int) -> None:
        for order in self.orders.values():
            due = order.cancel_ms is not None and order.cancel_ms <= now_ms
            if not due or order.status not in ("open", "offered", "assigned"):
                continue
            holder = next((c for c in self.couriers.values() if c.order_id == order.task.task_id), None)
            order.status, order.ended_ms = "cancelled", now_ms
            if holder is not None:
                self._free(holder, now_ms)
                self._tell(now_ms, "withdrawn", order, holder)
            self._tell(now_ms, "cancelled", order, None)

    def _sweep(self, now_ms: int) -> None:
        for courier in self.couriers.values():
            order = None if courier.order_id is None else self.orders[courier.order_id]
            if order is not None and courier.offer_until_ms is not None and courier.offer_until_ms <= now_ms:
                self._reopen(order, courier, now_ms, "expired")
                order = None
            if courier.silent_ms is not None and courier.silent_ms + self._plan.lost_s * 1000 <= now_ms:
                courier.offline = True
                if order is not None and order.status == "assigned":
                    self._reopen(order, courier, now_ms, "reassigned")

    def _reopen(self, order: Order, courier: Courier, now_ms: int, kind: Kind) -> None:
        self._tell(now_ms, kind, order, courier)
        order.status, order.excluded = "open", order.excluded | {courier.courier_id}
        self._free(courier, now_ms)

    def _dispatch(self, dispatcher: Dispatcher, now_ms: int) -> None:
        online = {c.courier_id for c in self.couriers.values() if not c.offline and c.online_ms <= now_ms}
        for order in self.orders.values():
            if order.status == "open" and online <= order.excluded:
                order.excluded = frozenset()  # everybody has been asked: all over again
        tasks = [
            OpenTask(t.task_id, t.pick_up, t.drop_off, t.ready_ms, t.waiting_since_ms, t.urgent, 0, order.excluded)
            for order in self.orders.values()
            if order.status == "open"
            and (t := order.task).waiting_since_ms <= now_ms
            and (self._plan.ahead or t.ready_ms <= now_ms)
        ]
        free = [
            FreeCourier(c.courier_id, whereabouts(c, now_ms), 0, c.idle_since_ms, c.delivered)
            for c in self.couriers.values()
            if c.order_id is None and c.courier_id in online
        ]
        if not tasks or not free:
            return
        for proposal in dispatcher(tasks, free, now_ms):
            self._offer(self.orders[proposal.task_id], self.couriers[proposal.courier_id], now_ms)

    def _offer(self, order: Order, courier: Courier, now_ms: int) -> None:
        if courier.order_id is not None or order.status != "open":
            raise BrokenCity("two exclusive offers at once")
        courier.order_id, order.status = order.task.task_id, "offered"
        courier.offer_until_ms = now_ms + self._plan.offer_s * 1000
        self._tell(now_ms, "offered", order, courier)
        # Drawn from the pair, not from a stream: every policy meets the same moods.
        mood = random.Random(f"{self._seed}/{order.task.task_id}/{courier.courier_id}").random()
        if courier.silent_ms is not None or mood < self._plan.silent_share:
            return
        if mood < self._plan.silent_share + self._plan.decline_share:
            self._reopen(order, courier, now_ms, "declined")
            return
        order.status, courier.offer_until_ms = "assigned", None
        self._tell(now_ms, "accepted", order, courier)
        self._set_out(courier, courier.at, order.task.pick_up, now_ms)
        courier.due_ms = max(now_ms + self._travel_ms(courier.at, order.task.pick_up), order.task.ready_ms)

    def _tell(self, ms: int, kind: Kind, order: Order | None, courier: Courier | None) -> None:
        order_id = None if order is None else order.task.task_id
        if courier is None:
            self.log.append(Entry(ms, kind, order_id, None, None))
        else:
            self.log.append(Entry(ms, kind, order_id, courier.courier_id, whereabouts(courier, ms)))

    def _travel_ms(self, a: Place, b: Place) -> int:
        east_m, north_m = streets_m(a, b)
        return round((east_m + north_m) / self._plan.speed_m_per_s * 1000)


def streets_m(a: Place, b: Place) -> tuple[float, float]:
    """The way through a grid of streets: along the parallel, then along the meridian, in metres."""
    corner = Place(a.latitude, b.longitude)
    return distance_m(a, corner), distance_m(corner, b)


def whereabouts(courier: Courier, now_ms: int) -> Place:
    """Where he stands, or how far he has come."""
    leg = courier.leg
    if leg is None:
        return courier.at
    if now_ms >= leg.arrives_ms:
        return leg.goal
    east_m, north_m = streets_m(leg.start, leg.goal)
    done_m = (east_m + north_m) * max(now_ms - leg.started_ms, 0) / (leg.arrives_ms - leg.started_ms)
    if done_m < east_m:
        share = done_m / east_m
        longitude = leg.start.longitude + share * (leg.goal.longitude - leg.start.longitude)
        return Place(leg.start.latitude, longitude)
    share = (done_m - east_m) / north_m
    latitude = leg.start.latitude + share * (leg.goal.latitude - leg.start.latitude)
    return Place(latitude, leg.goal.longitude)
