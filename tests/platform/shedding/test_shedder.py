"""The shedder on a clock of its own: what the limit does, and who is let in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from doorbuster.kernel.priority import Priority
from doorbuster.platform.shedding import Place, Shedder, SheddingSettings

SETTINGS = SheddingSettings(
    enabled=True,
    limit_min=8,
    limit_initial=40,
    limit_max=200,
    fast_enough_ms=1.0,
    window_ms=100,
    samples_min=4,
    lag_max_ms=50,
)
KIND = "POST /v1/sales"


class World:
    """`serve` lets in as many as there is room for, and answers each after `took_s`."""

    def __init__(self, settings: SheddingSettings = SETTINGS) -> None:
        self.now_s = 1_000.0
        self.settings = settings
        self.shedder = Shedder(lambda: self.settings, lambda: self.now_s)

    def fill(self, priority: Priority, wanted: int = 10_000) -> list[Place]:
        places: list[Place] = []
        while len(places) < wanted and (place := self.shedder.admit(priority, KIND)):
            places.append(place)
        return places

    def serve(self, took_s: float, wanted: int = 10_000, succeeded: bool = True) -> int:
        places = self.fill(Priority.PAY, wanted)
        self.now_s += took_s
        for place in places:
            self.shedder.leave(place, succeeded)
        return len(places)

    def serve_for(self, seconds: float, took_s: float, wanted: int = 10_000) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.serve(took_s, wanted)


def test_round_trips_that_stay_short_raise_the_limit_to_its_bound():
    world = World()
    world.serve_for(10, 0.01)
    assert world.shedder.limit == SETTINGS.limit_max


def test_round_trips_that_grow_lower_the_limit_to_its_bound():
    world = World()
    world.serve_for(1, 0.01)
    world.serve_for(3, 0.1)
    assert world.shedder.limit == SETTINGS.limit_min


def test_the_limit_finds_what_a_server_of_known_speed_can_do():
    """One that answers 1,000/s, each in 10 ms when alone: the round trip is what is under way divided by the speed."""
    world = World()
    world.serve_for(1, 0.01, 5)
    for _ in range(400):
        places = world.fill(Priority.PAY)
        world.now_s += max(0.01, len(places) / 1000)
        for place in places:
            world.shedder.leave(place, succeeded=True)
    assert 10 <= world.shedder.limit <= 40  # twice the shortest round trip holds 20


def test_waiting_that_nobody_notices_is_no_overload():
    world = World(replace(SETTINGS, fast_enough_ms=50.0))
    world.serve_for(1, 0.001)
    world.serve_for(5, 0.04)
    assert world.shedder.limit == SETTINGS.limit_max


def test_slow_answers_without_pressure_say_nothing():
    world = World()
    world.serve_for(1, 0.01, 5)
    world.serve_for(5, 1.0, 5)
    assert world.shedder.limit == SETTINGS.limit_initial


def test_refusals_of_the_shop_do_not_pass_for_short_round_trips():
    world = World()
    world.serve(0.0001, 5, succeeded=False)
    world.serve_for(3, 0.01)
    assert world.shedder.limit > SETTINGS.limit_initial


def test_a_late_event_loop_lowers_the_limit_and_it_recovers():
    world = World()
    for _ in range(20):
        world.now_s += 0.1
        world.shedder.tick(0.2)
    assert world.shedder.limit == SETTINGS.limit_min
    for _ in range(50):
        world.now_s += 0.1
        world.shedder.tick(0.0)
    assert world.shedder.limit == SETTINGS.limit_initial


def test_after_an_overload_without_traffic_the_limit_is_where_it_began():
    world = World()
    world.serve_for(1, 0.01)
    world.serve_for(3, 0.1)
    assert world.shedder.limit == SETTINGS.limit_min
    for _ in range(50):
        world.now_s += 0.1
        world.shedder.tick(0.0)
    assert world.shedder.limit == SETTINGS.limit_initial


def test_a_server_that_has_become_slower_for_good_is_believed_after_a_while():
    world = World(replace(SETTINGS, minimum_kept_ms=2_000))
    world.serve_for(1, 0.01)
    world.serve_for(2, 0.1)
    assert world.shedder.limit == SETTINGS.limit_min
    world.serve_for(10, 0.1)
    assert world.shedder.limit > SETTINGS.limit_initial


def test_the_less_urgent_leave_room_for_the_more_urgent():
    shedder = World().shedder
    world = World()
    counts = [len(world.fill(each)) for each in reversed(Priority)]
    assert counts == [20, 10, 8, 2]  # 50 %, 75 %, 95 %, 100 % of 40
    assert [each.refused for each in world.shedder.snapshot().classes.values()] == [1, 1, 1, 1]
    assert shedder.under_way == 0


def test_who_cannot_be_served_in_time_is_refused_at_once():
    world = World()
    world.serve(0.5, 5)
    assert world.shedder.admit(Priority.CLAIM, KIND, 0.1) is None
    assert world.shedder.admit(Priority.CLAIM, KIND, 1.0) is not None
    assert world.shedder.snapshot().classes["claim"].too_late == 1


def test_who_waits_for_their_client_takes_nobodys_place():
    world = World()
    places = world.fill(Priority.PAY)
    for place in places:
        place.step_out()
    assert world.shedder.under_way == 0 and len(world.fill(Priority.PAY)) == 40
    places[0].step_in()
    for place in places:
        world.shedder.leave(place, succeeded=True)
    assert world.shedder.under_way == 40
    assert world.shedder.snapshot().shortest_ms == {}  # none of them was timed


def test_switched_off_it_lets_everybody_in_and_switched_on_nobody_is_forgotten():
    world = World(replace(SETTINGS, enabled=False))
    places = world.fill(Priority.ANALYTICS, 500)
    assert len(places) == 500
    world.settings = SETTINGS
    assert not world.fill(Priority.PAY)
    for place in places:
        world.shedder.leave(place, succeeded=True)
    assert len(world.fill(Priority.PAY)) == world.shedder.limit


def test_kinds_are_bounded_because_strangers_make_them():
    world = World()
    for number in range(1_000):
        place = world.shedder.admit(Priority.BROWSE, f"GET /{number}")
        assert place is not None
        world.now_s += 0.001
        world.shedder.leave(place, succeeded=True)
    assert len(world.shedder.snapshot().shortest_ms) <= 129


steps = st.lists(
    st.tuples(
        st.sampled_from(Priority),
        st.integers(0, 60),
        st.floats(0, 2),
        st.floats(0, 0.3),
        st.booleans(),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_the_limit_keeps_its_bounds_and_urgency_its_order(
    happening: list[tuple[Priority, int, float, float, bool]],
):
    world, inside = World(), list[Place]()
    for priority, number, waited_s, lag_s, succeeded in happening:
        inside += world.fill(priority, number)
        world.now_s += waited_s
        world.shedder.tick(lag_s)
        assert SETTINGS.limit_min <= world.shedder.limit <= SETTINGS.limit_max
        assert world.shedder.under_way == len(inside)
        admitted = [world.shedder.would_admit(each) for each in Priority]
        assert admitted == sorted(admitted, reverse=True)  # nobody passes where somebody more urgent does not
        for place in inside[number // 2 :]:
            world.shedder.leave(place, succeeded)
        del inside[number // 2 :]
    for place in inside:
        world.shedder.leave(place, succeeded=False)
    assert world.shedder.under_way == 0
    for _ in range(100):
        world.now_s += 0.1
        world.shedder.tick(0.0)
    assert world.shedder.limit == SETTINGS.limit_initial


def test_who_is_turned_away_is_counted_and_who_finds_room_is_not_yet_let_in():
    world = World(replace(SETTINGS, limit_min=2, limit_initial=2, limit_max=2))
    assert not world.shedder.is_full
    assert not world.shedder.turns_away(Priority.CLAIM)
    assert world.shedder.under_way == 0
    inside = world.fill(Priority.PAY)
    assert len(inside) == 2 and world.shedder.is_full
    before = world.shedder.snapshot().classes["claim"].refused
    assert world.shedder.turns_away(Priority.CLAIM)
    assert world.shedder.snapshot().classes["claim"].refused == before + 1
    world.shedder.leave(inside[0], succeeded=False)
    world.shedder.leave(inside[1], succeeded=False)
    assert not world.shedder.turns_away(Priority.ANALYTICS)


def test_switched_off_it_is_never_full():
    world = World(replace(SETTINGS, enabled=False, limit_min=1, limit_initial=1, limit_max=1))
    places = [world.shedder.admit(Priority.PAY, "GET /") for _ in range(5)]
    assert all(places) and not world.shedder.is_full
    assert not world.shedder.turns_away(Priority.ANALYTICS)


def test_where_everything_is_sold_out_quickly_the_limit_grows_and_where_that_takes_long_it_shrinks():
    world = World(SETTINGS)
    for took_s, found in ((0.0001, SETTINGS.limit_max), (0.5, SETTINGS.limit_min)):
        until_s = world.now_s + 5
        while world.now_s < until_s:
            world.serve(took_s, world.shedder.limit, succeeded=False)
            world.shedder.tick(0.0)
            world.now_s += 0.05
        assert world.shedder.limit == found
