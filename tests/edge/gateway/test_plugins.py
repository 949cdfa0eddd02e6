"""What is done to a request on its way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from doorbuster.edge.gateway.plugins.canary import place_of
from doorbuster.edge.gateway.settings import (
    Authentication,
    Canary,
    GatewaySettings,
    HeaderMatch,
    HeaderTransform,
    Mirror,
    RateLimit,
    RequestLog,
    ResponseCache,
    Route,
    SetHeader,
    Share,
    Shedding,
    Upstream,
)
from doorbuster.edge.leaving import EndsWithClient
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Overloaded
from doorbuster.kernel.priority import Priority
from doorbuster.platform.http.raw import Receive, Scope, Send
from doorbuster.platform.limits.algorithms.leaky_bucket import LeakyBucket
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.port import Decision, Policy
from doorbuster.platform.limits.settings import LimitSettings
from edge.gateway.world import Echo, answer, gateway_world, served, until
from leaks import Leaks


def everywhere(*plugins: Any, **more: Any) -> GatewaySettings:
    return GatewaySettings(plugins=plugins, **more)


# --- authentication -------------------------------------------------------------------------------------------------


async def test_a_token_is_asked_for_checked_and_known_behind():
    principals: list[object] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        principals.append(scope["principal"])
        await answer(send, {})

    settings = GatewaySettings(
        (
            Route("open", "/open", plugins=(Authentication(),)),
            Route("closed", "/closed", plugins=(Authentication(required=True),)),
            Route("staff", "/staff", plugins=(Authentication(roles=("support", "admin")),)),
        )
    )
    async with gateway_world(settings) as world:
        for path in ("/open", "/closed", "/staff"):
            world.local.answers[path] = note

        async def ask(path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
            got = await world.client.get(path, headers=headers)
            return got.status_code, got.json().get("slug", "")

        customer, admin = world.headers(7), world.headers(8, "admin")
        assert await ask("/open") == (200, "")
        assert await ask("/closed") == (401, "unauthenticated")
        assert await ask("/staff") == (401, "unauthenticated")
        assert await ask("/staff", customer) == (403, "forbidden")
        for path in ("/open", "/closed", "/staff"):
            assert await ask(path, {"Authorization": "Bearer x"}) == (401, "invalid-token")
        assert len(principals) == 1
        assert await ask("/closed", customer) == (200, "")
        assert await ask("/staff", admin) == (200, "")
    assert [getattr(each, "account_id", None) for each in principals] == [None, 7, 8]


# --- rate limits ----------------------------------------------------------------------------------------------------


@dataclass
class Allowance:
    """So many for each key, for ever."""

    each: int
    taken: Counter[str] = field(default_factory=Counter[str])

    @property
    def policy(self) -> Policy:
        return Policy(self.each, 60)

    async def take(self, key: str, cost: int = 1) -> Decision:
        self.taken[key] += cost
        left = self.each - self.taken[key]
        return Decision(left >= 0, self.each, max(0, left), 2.5, 0.0 if left >= 0 else 1.2)


async def test_what_is_too_often_is_told_when_to_come_back():
    limiter = Allowance(2)
    async with gateway_world(everywhere(RateLimit("browse")), limiters={"browse": limiter}) as world:
        first, second, third = [await world.client.get("/x") for _ in range(3)]
        assert [each.status_code for each in (first, second, third)] == [200, 200, 429]
        assert first.headers["ratelimit"] == '"browse";r=1;t=3'
        assert first.headers["ratelimit-policy"] == '"browse";q=2;w=60'
        assert third.headers["ratelimit"] == '"browse";r=0;t=3'
        assert third.headers["retry-after"] == "2"
        assert (third.json()["slug"], third.json()["policy"]) == ("rate-limited", "browse")
        assert len(third.headers.get_list("ratelimit")) == 1
        assert len(world.local.seen) == 2


async def test_limits_are_kept_by_user_address_or_route():
    limiter = Allowance(100)
    settings = GatewaySettings(
        (
            Route("a", "/user", plugins=(Authentication(), RateLimit("l", by="user", cost=3))),
            Route("b", "/address", plugins=(RateLimit("l"),)),
            Route("c", "/route", plugins=(RateLimit("l", by="route"),)),
            Route("d", "/things/{id}", plugins=(RateLimit("l", by="path"),)),
        )
    )
    async with gateway_world(settings, limiters={"l": limiter}) as world:
        await world.client.get("/user", headers=world.headers(5))
        await world.client.get("/user")
        await world.client.get("/address", headers={**world.headers(5), "X-Forwarded-For": "6.6.6.6"})
        await world.client.get("/route")
        await world.client.get("/things/7?a=1")
        await world.client.get("/things/7?a=2")
    assert limiter.taken == {"user:5": 3, "address:127.0.0.1": 3 + 1, "c": 1, "/things/7": 2}


async def test_an_address_of_ipv6_counts_with_its_household():
    limiter = Allowance(100)
    settings = GatewaySettings(plugins=(RateLimit("l"),), trusted_proxies=("127.0.0.1/32",))
    async with gateway_world(settings, limiters={"l": limiter}) as world:
        for last in "12":
            await world.client.get("/x", headers={"X-Forwarded-For": f"2001:db8:1:2::{last}"})
    assert limiter.taken == {"address:2001:db8:1:2::/64": 2}


async def test_a_paced_queue_is_waited_out_but_not_beyond_the_deadline():
    thresholds = LimitSettings(limit=10, period_s=1.0, queue=2)
    paced = LocalLimiter(LeakyBucket(), lambda: thresholds, now_us=lambda: 0)  # time stands still: the queue fills
    async with gateway_world(everywhere(RateLimit("l")), limiters={"l": paced}) as world:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        first, second = [await world.client.get("/x") for _ in range(2)]
        assert loop.time() - began_s >= 0.1, "the second had its turn a tenth of a second later"
        hasty = await world.client.get("/x", headers={"X-Request-Timeout-Ms": "150"})
        full = await world.client.get("/x")
    assert [each.status_code for each in (first, second, hasty, full)] == [200, 200, 429, 429]
    assert hasty.json()["slug"] == "rate-limited"
    assert len(world.local.seen) == 2


async def test_a_limiter_that_is_away_says_so_itself():
    class Away(Allowance):
        async def take(self, key: str, cost: int = 1) -> Decision:
            raise Overloaded("the limiter's store is away")

    async with gateway_world(everywhere(RateLimit("l")), limiters={"l": Away(1)}) as world:
        got = await world.client.get("/x")
        assert (got.status_code, got.json()["slug"]) == (503, "overloaded")


# --- shedding -------------------------------------------------------------------------------------------------------


@dataclass
class Room:
    """Lets in what is urgent enough."""

    at_least: Priority
    inside: int = 0
    left: int = 0
    asked: list[tuple[Priority, bool]] = field(default_factory=list[tuple[Priority, bool]])

    def enter(self, priority: Priority, deadline: Deadline | None) -> None:
        self.asked.append((priority, deadline is not None))
        if priority > self.at_least:
            raise Overloaded
        self.inside += 1

    def leave(self, took_s: float) -> None:
        assert took_s >= 0
        self.inside -= 1
        self.left += 1


async def test_the_least_urgent_are_refused_and_whoever_was_let_in_is_let_out(leaks: Leaks):
    room = Room(Priority.CLAIM)

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise Overloaded

    settings = GatewaySettings((Route("own", "/own", priority="pay"), Route("rest", "/**")), plugins=(Shedding(),))
    async with gateway_world(settings, shedder=room, leaks=leaks) as world:
        world.local.answers["/v1/payments/webhooks/x"] = fail
        asked = [
            ("GET", "/v1/products", 503),
            ("GET", "/v1/merchant/orders", 503),
            ("POST", "/v1/sales/1/claims", 200),
            ("POST", "/v1/orders/1/payments", 200),
            ("POST", "/v1/payments/webhooks/x", 503),
            ("GET", "/healthz", 200),
            ("GET", "/own", 200),
        ]
        for method, path, status in asked:
            got = await world.client.request(method, path, headers={"X-Request-Timeout-Ms": "900"})
            assert got.status_code == status, path
    assert [priority.name for priority, _ in room.asked] == ["BROWSE", "ANALYTICS", "CLAIM", "PAY", "PAY", "PAY", "PAY"]
    assert all(has_deadline for _, has_deadline in room.asked)
    assert (room.inside, room.left) == (0, 5)


# --- request log ----------------------------------------------------------------------------------------------------


async def test_a_sample_is_logged_and_every_failure():
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async with gateway_world(everywhere(RequestLog(percent=10.0, slow_s=3600)), seed=3) as world:
        world.local.answers["/fail"] = fail
        with structlog.testing.capture_logs() as lines:
            for _ in range(100):
                await world.client.get("/x?token=secret")
            failed = await world.client.get("/fail")
        assert failed.status_code == 500
        assert failed.json()["slug"] == "internal-error"
    mine = [line for line in lines if line["event"] == "request"]
    dice = random.Random(3)
    assert [line["path"] for line in mine] == ["/x"] * sum(dice.random() < 0.1 for _ in range(100)) + ["/fail"]
    assert mine[-1]["status"] == 500
    assert {"method", "took_ms", "route", "upstream", "priority", "request_id", "trace_id"} <= set(mine[0])
    assert "secret" not in str(mine)


# --- headers --------------------------------------------------------------------------------------------------------


async def test_headers_are_removed_and_set_both_ways():
    async def say(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, {}, headers=[(b"x-inner", b"1"), (b"server", b"secret/1.0"), (b"x-both", b"theirs")])

    transform = HeaderTransform(
        request_remove=("X-Debug",),
        request_set=(SetHeader("X-Site", "blue"),),
        answer_remove=("Server", "X-Inner"),
        answer_set=(SetHeader("X-Both", "ours"), SetHeader("Strict-Transport-Security", "max-age=1")),
    )
    async with gateway_world(everywhere(transform)) as world:
        world.local.answers["/y"] = say
        await world.client.get("/x", headers={"X-Debug": "1", "X-Site": "red"})
        assert world.local.seen[0].values("x-debug") == []
        assert world.local.seen[0].values("x-site") == ["blue"]
        got = await world.client.get("/y")
        assert got.headers.get_list("x-both") == ["ours"]
        assert got.headers["strict-transport-security"] == "max-age=1"
        assert not {"server", "x-inner"} & set(got.headers)


# --- canary ---------------------------------------------------------------------------------------------------------

USERS = 200


async def shares(settings: GatewaySettings, users: range, **headers: str) -> dict[int, str]:
    """Where each of these users is sent."""
    found: dict[int, str] = {}
    async with gateway_world(settings) as world:
        for user in users:
            got = await world.client.get("/x", headers=world.headers(user) | headers)
            found[user] = got.json()["from"]
    return found


async def test_the_canarys_share_by_user_is_exact_and_stays(leaks: Leaks):
    candidate = Echo("candidate")
    async with served(candidate, leaks) as there:
        upstreams = (Upstream("candidate", (there.url,)),)

        def canary(percent: float, salt: str = "") -> GatewaySettings:
            return everywhere(Authentication(), Canary("candidate", percent, salt=salt), upstreams=upstreams)

        ten = await shares(canary(10.0), range(USERS))
        expected = {user for user in range(USERS) if place_of(f"user:{user}", b"") < 2**64 // 10}
        chosen = {user for user, name in ten.items() if name == "candidate"}
        assert chosen == expected
        assert len(chosen) == 16  # the hash draws these, on every machine, for good

        half = {user for user, name in (await shares(canary(50.0), range(USERS))).items() if name == "candidate"}
        assert chosen < half, "whoever was in stays in while it grows"
        other = {user for user, name in (await shares(canary(10.0, "b"), range(USERS))).items() if name == "candidate"}
        assert other != chosen
        assert set((await shares(canary(0.0), range(50))).values()) == {"local"}
        assert set((await shares(canary(100.0), range(50))).values()) == {"candidate"}


def test_the_share_of_many_users_is_the_share_declared():
    assert sum(place_of(f"user:{user}", b"") < 2**64 // 10 for user in range(100_000)) == 9981


async def test_a_header_asks_for_the_candidate(leaks: Leaks):
    candidate = Echo("candidate")
    async with served(candidate, leaks) as there:
        rule = Canary("candidate", by="request", header=HeaderMatch("X-Canary", "yes"))
        settings = everywhere(rule, upstreams=(Upstream("candidate", (there.url,)),))
        assert (await shares(settings, range(1), **{"X-Canary": "yes"}))[0] == "candidate"
        assert (await shares(settings, range(1), **{"X-Canary": "no"}))[0] == "local"


async def test_weights_are_drawn_as_declared(leaks: Leaks):
    candidate = Echo("candidate")
    async with served(candidate, leaks) as there:
        to = (Share("local", 90), Share("candidate", 10), Share("local", 0))
        settings = GatewaySettings((Route("r", "/**", to=to),), (Upstream("candidate", (there.url,)),))
        async with gateway_world(settings, seed=5) as world:
            names = [(await world.client.get("/x")).json()["from"] for _ in range(150)]
    dice = random.Random(5)
    assert names == ["local" if dice.randrange(100) < 90 else "candidate" for _ in range(150)]
    assert 5 <= names.count("candidate") <= 25


async def test_routes_go_by_method_and_header_and_the_first_that_fits_counts(leaks: Leaks):
    far = Echo("far")
    async with served(far, leaks) as there:
        settings = GatewaySettings(
            (
                Route("writes", "/v1/{what}", methods=("POST", "PUT"), to=(Share("far"),)),
                Route("beta", "/v1/{what}", headers=(HeaderMatch("X-Beta"),), to=(Share("far"),)),
                Route("rest", "/**"),
            ),
            (Upstream("far", (f"{there.url}/base/",)),),
        )
        async with gateway_world(settings) as world:

            async def goes_to(method: str, path: str, **headers: str) -> str:
                return (await world.client.request(method, path, headers=headers)).json()["from"]

            assert await goes_to("GET", "/v1/a") == "local"
            assert await goes_to("POST", "/v1/a") == "far"
            assert await goes_to("POST", "/v1/a/b") == "local"
            assert await goes_to("GET", "/v1/a", **{"X-Beta": "anything"}) == "far"
    assert [seen.target for seen in far.seen] == ["/base/v1/a", "/base/v1/a"]


# --- cache ----------------------------------------------------------------------------------------------------------


async def test_answers_to_strangers_are_kept_for_a_while():
    clock = ManualClock(1_000_000)
    settings = GatewaySettings((Route("p", "/v1/products", plugins=(ResponseCache(2.0),)), Route("r", "/**")))
    async with gateway_world(settings, clock=clock) as world:

        async def asked(times: int, path: str = "/v1/products", method: str = "GET", **headers: str) -> int:
            """How many of so many requests reach the shop."""
            before = len(world.local.seen)
            for _ in range(times):
                assert (await world.client.request(method, path, headers=headers)).status_code == 200
            return len(world.local.seen) - before

        assert await asked(5) == 1
        clock.advance(1999)
        kept = await world.client.get("/v1/products", headers={"X-Request-Id": "mine"})
        assert kept.headers["age"] == "1"
        assert kept.headers["x-request-id"] == "mine"
        assert kept.json()["from"] == "local"
        clock.advance(1)
        assert await asked(2) == 1

        assert await asked(2, "/v1/products?page=2") == 1
        assert await asked(2, **{"Accept-Language": "zh"}) == 1
        assert await asked(2, **world.headers(1)) == 2, "nobody's own answer is kept"
        assert await asked(2, Cookie="a=1") == 2
        assert await asked(2, Range="bytes=0-1") == 2
        assert await asked(2, method="HEAD") == 2
        assert await asked(2, method="POST") == 2
        assert await asked(2, "/v1/sales") == 2, "the route does not declare it"


@pytest.mark.parametrize(
    ("status", "headers", "where"),
    [
        (404, [], "local"),
        (500, [], "local"),
        (200, [(b"set-cookie", b"a=1")], "local"),
        (200, [(b"vary", b"accept, x-own")], "local"),
        (200, [(b"vary", b"*")], "local"),
        (200, [(b"cache-control", b"private")], "far"),
        (200, [(b"cache-control", b"no-store")], "far"),
    ],
)
async def test_some_answers_are_not_kept(status: int, headers: list[tuple[bytes, bytes]], where: str):
    asked = [0]

    async def say(scope: Scope, receive: Receive, send: Send) -> None:
        asked[0] += 1
        await answer(send, {}, status, headers)

    far = Echo("far", answers={"/x": say})
    async with served(far) as there:
        settings = GatewaySettings(
            (Route("r", "/**", to=(Share(where),), plugins=(ResponseCache(60.0),)),), (Upstream("far", (there.url,)),)
        )
        async with gateway_world(settings) as world:
            world.local.answers["/x"] = say
            for _ in range(2):
                assert (await world.client.get("/x")).status_code == status
    assert asked[0] == 2


async def test_the_cache_is_bounded_and_forgets_what_is_longest_unused():
    cache = ResponseCache(60.0, entries_max=3, bytes_max=4096, entry_bytes_max=2048)
    async with gateway_world(everywhere(cache)) as world:

        async def is_kept(path: str) -> bool:
            before = len(world.local.seen)
            await world.client.get(path)
            return len(world.local.seen) == before

        assert [await is_kept(f"/{n}") for n in (1, 2, 3)] == [False] * 3
        assert await is_kept("/1")
        assert not await is_kept("/4")  # 2 goes
        assert [await is_kept("/1"), await is_kept("/3"), await is_kept("/4")] == [True] * 3
        assert not await is_kept("/2")

        async def large(scope: Scope, receive: Receive, send: Send) -> None:
            world.local.seen.append(world.local.seen[0])
            await answer(send, bytes(2049))

        world.local.answers["/large"] = large
        assert not await is_kept("/large")
        assert not await is_kept("/large")


# --- mirror ---------------------------------------------------------------------------------------------------------


def mirror_to(url: str, **options: Any) -> GatewaySettings:
    return everywhere(Mirror("candidate", **options), upstreams=(Upstream("candidate", (url,)),))


async def test_a_copy_goes_to_the_candidate_and_the_answer_is_the_shops(leaks: Leaks):
    candidate = Echo("candidate")
    async with (
        served(candidate, leaks) as there,
        gateway_world(mirror_to(there.url, methods=("GET", "POST")), leaks=leaks) as world,
    ):
        assert (await world.client.get("/x?y=1", headers={"X-Own": "1"})).json()["from"] == "local"
        assert (await world.client.post("/z", content=b"body")).json()["from"] == "local"
        assert (await world.client.put("/z", content=b"body")).json()["from"] == "local"
        await until(lambda: len(candidate.seen) == 2)
    assert [(seen.method, seen.target, seen.body) for seen in candidate.seen] == [
        ("GET", "/x?y=1", b""),
        ("POST", "/z", b"body"),
    ]
    assert candidate.seen[0].values("x-mirrored") == ["1"]
    assert candidate.seen[0].values("x-own") == ["1"]


async def test_whatever_the_candidate_does_the_answers_are_the_same(leaks: Leaks):
    """It is away, hangs, fails and pours; nobody but the log notices."""

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        with EndsWithClient(scope):
            await asyncio.Event().wait()

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, {}, 500)

    async def pour(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    candidate = Echo("candidate", answers={"/hang": hang, "/fail": fail, "/pour": pour})
    async with served(candidate, leaks) as there, gateway_world(mirror_to(there.url, in_flight_max=2)) as world:
        client = world.gateway._client
        for path in ("/hang", "/hang", "/hang", "/hang"):
            assert (await world.client.get(path)).json()["from"] == "local"
        assert client.beside == 2, "more are not copied"
        assert (await world.client.get("/x")).json()["from"] == "local"
        assert client.beside == 2
        await world.gateway.close()
        assert client.beside == 0
        for path in ("/fail", "/pour"):
            assert (await world.client.get(path)).json()["from"] == "local"
            await until(lambda: client.beside == 0)
        world.settings = mirror_to("http://127.0.0.1:1")
        assert (await world.client.get("/x")).json()["from"] == "local"
        await until(lambda: client.beside == 0)


async def test_long_bodies_are_not_copied(leaks: Leaks):
    candidate = Echo("candidate")
    async with served(candidate, leaks) as there:
        settings = mirror_to(there.url, methods=("POST",), body_bytes_max=1000)
        async with gateway_world(settings, leaks=leaks) as world:
            for size in (1001, 1000):
                assert len((await world.client.post("/x", content=bytes(size))).json()["body"]) == size
            await until(lambda: candidate.seen)
    assert [len(seen.body) for seen in candidate.seen] == [1000]
