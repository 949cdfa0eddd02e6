"""Who should fetch what: one round of dispatch as a pure function of what is open, who is free, and the time.

A pair of task and courier has a score in seconds; the round seeks the matching with the highest sum, by auction
(Bertsekas, Auction Algorithms, 1998): each member of the smaller side bids for its best partner."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence, Set
from math import asin, cos, floor, radians, sin, sqrt
from operator import itemgetter

from msgspec import Struct

from doorbuster.kernel.places import EARTH_RADIUS_M, Place, distance_m

Point = tuple[float, float, float]
Cell = tuple[int, int, int]
Edges = list[tuple[float, int]]

_FINEST_M = 250.0
_AROUND = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
_NOBODY: Set[int] = frozenset()


class OpenTask(Struct, frozen=True):
    """A delivery that nobody has; `excluded` are couriers not to be asked (they declined or fell silent)."""

    task_id: int
    pick_up: Place
    drop_off: Place
    ready_ms: int
    waiting_since_ms: int
    urgent: bool
    priority: int
    excluded: frozenset[int]


class FreeCourier(Struct, frozen=True):
    """Somebody who can be asked; `load` counts deliveries on hand."""

    courier_id: int
    at: Place
    load: int
    idle_since_ms: int
    delivered_today: int


class Proposal(Struct, frozen=True):
    """Ask this courier for this task. `score` is in seconds."""

    task_id: int
    courier_id: int
    score: float
    distance_m: int


class Policy(Struct, frozen=True):
    """Everything is weighed in seconds of a courier's time. The numbers were chosen in the simulated city on seeds 1 to
    12; docs/city.md says what they come to on others."""

    speed_m_per_s: float = 5.0
    detour: float = 1.27
    """Streets are longer than the great circle: 4/pi on a grid, over all directions."""
    travel_weight: float = 1.0
    travel_cap_s: float = 7200.0
    """Bounds what distance can cost, so that waiting always wins in the end."""
    idle_weight: float = 1.3
    """For each second a courier would stand and wait for the goods, at most `lead_s`."""
    lead_s: float = 900.0
    """Nobody is asked earlier than this before the goods are ready."""
    trip_weight: float = 1.3
    """For each second from pick-up to door: short trips first, as long as nothing is pressing."""
    trip_cap_s: float = 3600.0
    waiting_weight: float = 0.02
    """For each second since the order, without bound."""
    promised_s: float = 2700.0
    """From the order to the door."""
    horizon_s: float = 1800.0
    """Urgency begins when so much of the promised time is left."""
    urgency_s: float = 300.0
    """Reached, as the square of what is gone of the horizon, when the promised time can just be kept."""
    late_after_s: float = 900.0
    """Seconds after the promised time from which on waiting counts `late_weight` without bound."""
    late_weight: float = 2.0
    urgent_s: float = 700.0
    priority_s: float = 120.0
    """For each step of priority, bounded to ±10 steps."""
    load_s: float = 300.0
    """For each delivery already on hand, at most 10."""
    rested_weight: float = 0.8
    """For each second a courier has been idle, at most an hour: together with `delivered_s`, fairness."""
    delivered_s: float = 50.0
    """For each delivery today, at most 100: fairness may cost a customer little."""
    tolerance_s: float = 5.0
    """What a single choice may fall short of the best; smaller is slower."""
    dense: int = 6000
    """Up to so many pairs, all are weighed; beyond, each weighs its `candidates` nearest."""
    candidates: int = 12
    passes: int = 12
    """Auctions over what the earlier ones left; whoever is left after them waits for the next round."""


def dispatch(
    tasks: Sequence[OpenTask], couriers: Sequence[FreeCourier], now_ms: int, policy: Policy | None = None
) -> list[Proposal]:
    """At most one proposal for each task and each courier, best first; the order of the input does not matter."""
    policy = policy or Policy()
    due = [task for task in tasks if task.ready_ms - now_ms <= policy.lead_s * 1000]
    market = _Market(due, couriers, now_ms, policy)
    return market.proposals(market.matched())


def score_of(task: OpenTask, courier: FreeCourier, now_ms: int, policy: Policy) -> float:
    """In seconds. Only the customer's waiting is unbounded."""
    travel_s = distance_m(task.pick_up, courier.at) * policy.detour / policy.speed_m_per_s
    idle_s = min(max((task.ready_ms - now_ms) / 1000 - travel_s, 0.0), policy.lead_s)
    return (
        pressing(task, now_ms, policy)
        - policy.travel_weight * min(travel_s, policy.travel_cap_s)
        - policy.idle_weight * idle_s
        - _burden(courier, now_ms, policy)
    )


def pressing(task: OpenTask, now_ms: int, policy: Policy) -> float:
    """What a task weighs whoever fetches it, in seconds: grows with waiting, steeply towards the promised time,
    levels off when that is lost (one more late minute there is not worth a second late order), and rises again later,
    without bound."""
    waited_s = max(now_ms - task.waiting_since_ms, 0) / 1000
    trip_s = min(distance_m(task.pick_up, task.drop_off) * policy.detour / policy.speed_m_per_s, policy.trip_cap_s)
    left_s = policy.promised_s - waited_s - trip_s - max(task.ready_ms - now_ms, 0) / 1000
    gone = min(max(1 - left_s / policy.horizon_s, 0.0), 1.0)
    return (
        policy.waiting_weight * waited_s
        - policy.trip_weight * trip_s
        + policy.urgency_s * gone * gone
        + policy.late_weight * max(waited_s - policy.promised_s - policy.late_after_s, 0.0)
        + policy.urgent_s * task.urgent
        + policy.priority_s * max(-10, min(task.priority, 10))
    )


def _burden(courier: FreeCourier, now_ms: int, policy: Policy) -> float:
    rested_s = min(max(now_ms - courier.idle_since_ms, 0) / 1000, 3600.0)
    return (
        policy.load_s * min(courier.load, 10)
        + policy.delivered_s * min(courier.delivered_today, 100)
        - policy.rested_weight * rested_s
    )


class _Market:
    """Tasks and couriers as arrays, each side in the order of its weight: more pressing, less burdened first."""

    def __init__(self, tasks: Sequence[OpenTask], couriers: Sequence[FreeCourier], now_ms: int, policy: Policy) -> None:
        self._policy, self._s_per_m = policy, policy.detour / policy.speed_m_per_s
        weights = sorted(
            ((-pressing(task, now_ms, policy), task.task_id, task) for task in tasks), key=lambda each: each[:2]
        )
        burdens = sorted(
            ((_burden(courier, now_ms, policy), courier.courier_id, courier) for courier in couriers),
            key=lambda each: each[:2],
        )
        self._tasks = [task for _, _, task in weights]
        self._couriers = [courier for _, _, courier in burdens]
        self._pressing = [-weight for weight, _, _ in weights]
        self._burden = [burden for burden, _, _ in burdens]
        self._ready_s = [max(task.ready_ms - now_ms, 0) / 1000 for task in self._tasks]
        self._task_points = [_point(task.pick_up) for task in self._tasks]
        self._courier_points = [_point(courier.at) for courier in self._couriers]
        number = {courier.courier_id: n for n, courier in enumerate(self._couriers)}
        self._banned = {
            n: {number[courier_id] for courier_id in task.excluded if courier_id in number}
            for n, task in enumerate(self._tasks)
            if task.excluded
        }

    def matched(self) -> list[tuple[int, int]]:
        """Pairs of places in the two arrays."""
        tasks, couriers = set(range(len(self._tasks))), set(range(len(self._couriers)))
        made = list[tuple[int, int]]()
        for turn in range(self._policy.passes):
            if not tasks or not couriers:
                break
            couriers_bid = len(tasks) >= len(couriers)
            edges = self._edges(sorted(tasks), sorted(couriers), turn, couriers_bid)
            won = auction(edges, self._policy.tolerance_s)
            if not won:
                break
            for of, by in won.items():
                task, courier = (of, by) if couriers_bid else (by, of)
                made.append((task, courier))
                tasks.discard(task)
                couriers.discard(courier)
        return made

    def _edges(self, tasks: list[int], couriers: list[int], turn: int, couriers_bid: bool) -> dict[int, Edges]:
        """What each bidder may bid for: everything in a small market, else what is near him; and of the most pressing
        tasks, as many as can be served, each is offered to the couriers nearest to it, however far."""
        found: dict[int, dict[int, float]] = {bidder: {} for bidder in (couriers if couriers_bid else tasks)}
        if len(tasks) * len(couriers) <= self._policy.dense:
            for task in tasks:
                banned, point = self._banned.get(task, _NOBODY), self._task_points[task]
                for courier in couriers:
                    if courier not in banned:
                        value = self._value(task, courier, _squared(point, self._courier_points[courier]))
                        if couriers_bid:
                            found[courier][task] = value
                        else:
                            found[task][courier] = value
            return _by_bidder(found)
        few, wanted = min(len(tasks), len(couriers)), self._policy.candidates
        near_by = Nearby(self._courier_points, couriers, few, wanted // 2 if couriers_bid else wanted)
        for place, task in enumerate(tasks[:few]):
            banned = self._banned.get(task, _NOBODY)
            for squared, courier in near_by.near(self._task_points[task], banned, place + turn):
                value = self._value(task, courier, squared)
                if couriers_bid:
                    found[courier][task] = value
                else:
                    found[task][courier] = value
        if couriers_bid:
            self._add_near_tasks(found, Nearby(self._task_points, tasks, few, wanted), turn)
        return _by_bidder(found)

    def _add_near_tasks(self, found: dict[int, dict[int, float]], near_by: Nearby, turn: int) -> None:
        banned_of = dict[int, set[int]]()
        for task, who in self._banned.items():
            for courier in who:
                banned_of.setdefault(courier, set()).add(task)
        for place, (courier, mine) in enumerate(found.items()):
            banned = banned_of.get(courier, _NOBODY)
            for squared, task in near_by.near(self._courier_points[courier], banned, place + turn):
                if task not in mine:
                    mine[task] = self._value(task, courier, squared)

    def _value(self, task: int, courier: int, squared: float) -> float:
        policy = self._policy
        travel_s = _arc(sqrt(squared)) * self._s_per_m
        idle_s = self._ready_s[task] - travel_s
        value = self._pressing[task] - self._burden[courier] - policy.travel_weight * min(travel_s, policy.travel_cap_s)
        return value if idle_s <= 0 else value - policy.idle_weight * min(idle_s, policy.lead_s)

    def proposals(self, made: list[tuple[int, int]]) -> list[Proposal]:
        found = list[Proposal]()
        for task, courier in made:
            squared = _squared(self._task_points[task], self._courier_points[courier])
            ids = self._tasks[task].task_id, self._couriers[courier].courier_id
            found.append(Proposal(*ids, self._value(task, courier, squared), round(_arc(sqrt(squared)))))
        return sorted(found, key=lambda each: (-each.score, each.task_id))


def _by_bidder(found: dict[int, dict[int, float]]) -> dict[int, Edges]:
    return {bidder: [(value, thing) for thing, value in mine.items()] for bidder, mine in found.items() if mine}


def auction(edges: dict[int, Edges], tolerance: float, give_up: float = 3600.0) -> dict[int, int]:
    """Who wins what: {object: bidder}. The sum of the values is within `tolerance` × bidders of the best, unless
    a bidder gives up (prices so high that all leave him less than his worst value less `give_up`) or the bids run out,
    whose number is bounded: he stays without. An object nobody wins has no price, so no
    bidder would gain more than `tolerance` by changing to it. `edges` are (value, object) by bidder."""
    price, owner = dict[int, float](), dict[int, int]()
    floors = {bidder: min(value for value, _ in mine) - give_up for bidder, mine in edges.items()}
    queue, left = deque(edges), max(60 * len(edges), min(1000 * len(edges), 100_000))
    while queue and left:
        left -= 1
        bidder = queue.popleft()
        best = second = floors[bidder]
        wanted = -1
        for value, thing in edges[bidder]:
            net = value - price[thing] if thing in price else value
            if net > best:
                best, second, wanted = net, best, thing
            elif net > second:
                second = net
        if wanted >= 0:
            price[wanted] = price.get(wanted, 0.0) + best - second + tolerance
            if wanted in owner:
                queue.append(owner[wanted])
            owner[wanted] = bidder
    return owner


class Nearby:
    """Some of the points in grids of cubes around the Earth's centre, each grid twice as coarse as the one before,
    made when first needed: poles and ±180° are no edge. Cells keep the given order and show no more than `few`."""

    def __init__(self, points: list[Point], of: list[int], few: int, wanted: int) -> None:
        self._points, self._of, self._few, self._wanted = points, of, few, max(wanted, 1)
        self._grids = list[dict[Cell, list[int]]]()

    def near(self, point: Point, banned: Set[int], turn: int) -> list[tuple[float, int]]:
        """Up to `wanted` of them with their squared distances, nearest first. A crowded cell gives a window, moved on
        by `turn`."""
        px, py, pz = point
        wanted, points, size, level = self._wanted, self._points, _FINEST_M, 0
        ranked: list[tuple[float, int]] = []
        while True:
            grid = self._grids[level] if level < len(self._grids) else self._grid(size)
            x, y, z = floor(px / size), floor(py / size), floor(pz / size)
            ranked = []
            for cell in [(x + i, y + j, z + k) for i, j, k in _AROUND]:
                if cell not in grid:
                    continue
                here = grid[cell]
                if len(here) > 4 * wanted:
                    here = self._window(here, turn)
                for each in here:
                    ax, ay, az = points[each]
                    ranked.append(((ax - px) ** 2 + (ay - py) ** 2 + (az - pz) ** 2, each))
            if banned:
                ranked = [each for each in ranked if each[1] not in banned]
            if len(ranked) >= wanted or size > 2 * EARTH_RADIUS_M:
                break
            size, level = size * 2, level + 1
        ranked.sort(key=itemgetter(0))  # stable: a crowd at one point keeps its window's order
        return ranked[:wanted]

    def _grid(self, size: float) -> dict[Cell, list[int]]:
        grid, points = dict[Cell, list[int]](), self._points
        for each in self._of:
            x, y, z = points[each]
            grid.setdefault((floor(x / size), floor(y / size), floor(z / size)), []).append(each)
        self._grids.append(grid)
        return grid

    def _window(self, here: list[int], turn: int) -> list[int]:
        wanted = self._wanted
        start = turn * wanted % min(len(here), self._few)
        return (here[start : self._few] + here[:start])[: 4 * wanted]


def _point(place: Place) -> Point:
    latitude, longitude = radians(place.latitude), radians(place.longitude)
    flat = EARTH_RADIUS_M * cos(latitude)
    return flat * cos(longitude), flat * sin(longitude), EARTH_RADIUS_M * sin(latitude)


def _squared(a: Point, b: Point) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2


def _arc(chord: float) -> float:
    """Along the great circle, in metres; below 50 km the chord is as long to within 0.2 m."""
    return chord if chord < 50_000 else 2 * EARTH_RADIUS_M * asin(min(1.0, chord / 2 / EARTH_RADIUS_M))
