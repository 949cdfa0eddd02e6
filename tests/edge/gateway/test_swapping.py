"""A new configuration is taken over between two requests: none is dropped, none sees two."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import httpx
import pytest

from doorbuster.edge.gateway.errors import GatewayInvalid
from doorbuster.edge.gateway.settings import (
    EVERYTHING_LOCAL,
    Authentication,
    Canary,
    GatewaySettings,
    HeaderTransform,
    Mirror,
    RateLimit,
    ResponseCache,
    Route,
    SetHeader,
    Share,
    Shedding,
    Upstream,
)
from doorbuster.platform.http.raw import Receive, Scope, Send
from edge.gateway.world import answer, gateway_world, to, until
from leaks import Leaks

AT_ONCE = 200


def marked(number: int) -> GatewaySettings:
    """A configuration that writes its number into the request and into the answer."""
    mark = SetHeader("X-Generation", str(number))
    return GatewaySettings((Route("all", "/**", plugins=(HeaderTransform(request_set=(mark,), answer_set=(mark,)),)),))


async def test_hundreds_under_way_end_on_the_pipeline_they_began_on(leaks: Leaks):
    gate, inside = asyncio.Event(), Counter[str]()

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        """Waits inside; says which configuration the request has seen on its way in."""
        generation = next(value for name, value in scope["headers"] if name == b"x-generation").decode()
        inside[generation] += 1
        await gate.wait()
        await answer(send, {"in": generation})

    async with gateway_world(marked(0), leaks=leaks) as world:
        world.local.answers["/held"] = held
        asked: list[asyncio.Task[tuple[int, str, str]]] = []
        # Not httpx: its pool looks at every connection for each request.
        async with aiohttp.ClientSession(world.at.url, connector=aiohttp.TCPConnector(limit=0)) as client:
            for generation in range(3):
                world.settings = marked(generation)
                asked += [asyncio.create_task(ask_held(client)) for _ in range(AT_ONCE)]
                await until(lambda g=generation: inside[str(g)] == AT_ONCE)
            world.settings = marked(3)
            async with client.get("/now") as now:
                assert now.headers["x-generation"] == "3"
            gate.set()
            answers = await asyncio.gather(*asked)
    assert all(status == 200 and outside == within for status, outside, within in answers), "two configurations mixed"
    assert Counter(within for _, _, within in answers) == {"0": AT_ONCE, "1": AT_ONCE, "2": AT_ONCE}


async def ask_held(client: aiohttp.ClientSession) -> tuple[int, str, str]:
    """Status, the configuration that the answer shows, and the one that the request showed inside."""
    async with client.get("/held") as got:
        return got.status, got.headers["x-generation"], (await got.json())["in"]


async def test_changing_all_the_time_under_load_drops_and_mixes_nothing(leaks: Leaks):
    async def seen(scope: Scope, receive: Receive, send: Send) -> None:
        generation = next(value for name, value in scope["headers"] if name == b"x-generation").decode()
        await asyncio.sleep(0)
        await answer(send, {"in": generation})

    async with gateway_world(marked(0), leaks=leaks) as world:
        world.local.answers["/seen"] = seen
        generations = set[str]()

        async def ask(client: httpx.AsyncClient) -> None:
            for _ in range(50):
                got = await client.get("/seen")
                assert got.status_code == 200
                assert got.headers["x-generation"] == got.json()["in"]
                generations.add(got.json()["in"])

        async def change() -> None:
            number = 0
            while True:
                number += 1
                world.settings = marked(number)
                await asyncio.sleep(0.001)

        changing = asyncio.create_task(change())
        async with httpx.AsyncClient(base_url=world.at.url) as client:
            await asyncio.gather(*(ask(client) for _ in range(10)))
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
    assert len(generations) > 10


async def test_a_route_may_move_elsewhere_and_back(leaks: Leaks):
    async with gateway_world(leaks=leaks) as elsewhere, gateway_world(leaks=leaks) as world:
        elsewhere.local.name = "elsewhere"
        async with httpx.AsyncClient(base_url=world.at.url) as client:
            assert (await client.get("/x")).json()["from"] == "local"
            world.settings = to("other", elsewhere.at.url)
            assert (await client.get("/x")).json()["from"] == "elsewhere"
            world.settings = GatewaySettings()
            assert (await client.get("/x")).json()["from"] == "local"


async def test_out_of_the_box_everything_is_local_and_nothing_is_done_to_it():
    async with gateway_world() as world, httpx.AsyncClient(base_url=world.at.url) as client:
        assert world.gateway.pipeline.bare
        # Not even what the table would refuse: the shop answers its own.
        got = await client.get("/a//b")
        assert got.json()["target"] == "/a//b"


ELSEWHERE = Upstream("elsewhere", ("http://127.0.0.1:1",))
BAD: dict[str, tuple[GatewaySettings, str]] = {
    "upstream": (GatewaySettings((Route("r", "/**", to=(Share("nobody"),)),)), "no upstream 'nobody'"),
    "weights": (GatewaySettings((Route("r", "/**", to=(Share("local", 0),)),)), "no upstream has a weight"),
    "twice": (GatewaySettings((Route("r", "/a"), Route("r", "/b"))), "more than one route is called 'r'"),
    "local": (GatewaySettings(upstreams=(Upstream("local", ("http://h",)),)), "more than one upstream"),
    "stars": (GatewaySettings((Route("r", "/a/**/b"),)), "last segment"),
    "star": (GatewaySettings((Route("r", "/a/x*"),)), "stands for nothing"),
    "brace": (GatewaySettings((Route("r", "/a/{b"),)), "is not a segment"),
    "dots": (GatewaySettings((Route("r", "/a/../b"),)), "is not a segment"),
    "encoded": (GatewaySettings((Route("r", "/a%2fb"),)), "is not a segment"),
    "url": (GatewaySettings(upstreams=(Upstream("u", ("http://",)),)), "must be http"),
    "port": (GatewaySettings(upstreams=(Upstream("u", ("http://h:99999",)),)), "upstream u"),
    "credentials": (GatewaySettings(upstreams=(Upstream("u", ("http://a:b@h",)),)), "upstream u: h must be"),
    "network": (GatewaySettings(trusted_proxies=("10.0.0.0/99",)), "trusted_proxies"),
    "limiter": (GatewaySettings(plugins=(RateLimit("nothing"),)), "no limiter 'nothing'"),
    "user": (GatewaySettings(plugins=(RateLimit("known", by="user"),)), "needs an authentication before it"),
    "canary user": (GatewaySettings(plugins=(Canary("local", 5.0),)), "needs an authentication before it"),
    "canary": (GatewaySettings(plugins=(Canary("x", by="request"),)), "no upstream 'x'"),
    "shedder": (GatewaySettings(plugins=(Shedding(),)), "no shedder"),
    "mirror": (GatewaySettings(plugins=(Mirror("local"),)), "needs an upstream elsewhere"),
    "cache": (GatewaySettings(plugins=(ResponseCache(1, bytes_max=10),)), "larger than all of it"),
    **{
        name: (GatewaySettings(plugins=(HeaderTransform(request_set=(SetHeader(name, "x"),)),)), "cannot be changed")
        for name in ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Authorization", "X-Forwarded-For")
    },
}


class Always:
    async def take(self, key: str, cost: int = 1):
        raise AssertionError("never asked")


@pytest.mark.parametrize("case", BAD)
async def test_what_makes_no_sense_is_refused_with_the_reason_and_the_old_one_stays(case: str):
    settings, reason = BAD[case]
    async with gateway_world(marked(1), limiters={"known": Always()}) as world:
        with pytest.raises(GatewayInvalid, match=reason):
            world.gateway.validate(settings)
        world.settings = settings
        async with httpx.AsyncClient(base_url=world.at.url) as client:
            assert (await client.get("/x")).headers["x-generation"] == "1"
            assert world.gateway.refused is not None
            assert reason in world.gateway.refused.detail
            world.settings = marked(2)
            assert (await client.get("/x")).headers["x-generation"] == "2"
            assert world.gateway.refused is None


async def test_a_gateway_does_not_start_on_nonsense():
    with pytest.raises(GatewayInvalid):
        async with gateway_world(BAD["upstream"][0]):
            pass


def test_the_default_is_the_default():
    assert GatewaySettings() == EVERYTHING_LOCAL
    assert Authentication() == Authentication(required=False)
