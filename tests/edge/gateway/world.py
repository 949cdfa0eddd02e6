"""Real servers for the gateway's tests: the gateway with an application of its own, and servers behind it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from doorbuster.edge.gateway.gateway import Gateway
from doorbuster.edge.gateway.ports import Limiter, Ports, Shedder
from doorbuster.edge.gateway.settings import EVERYTHING_LOCAL, GatewaySettings, Route, Share, Upstream
from doorbuster.kernel.clock import Clock, ManualClock, SystemClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.raw import Receive, Scope, Send
from doorbuster.platform.http.server import bind, server_for
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from leaks import Leaks

UNTIL_S = 20.0
"""Only a failure takes so long."""

App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class Seen:
    """A request as a server saw it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for held, value in self.headers if held == name.lower()]


@dataclass
class Echo:
    """A server that says who it is and what it got. `answers` by path say something else."""

    name: str
    seen: list[Seen] = field(default_factory=list[Seen])
    answers: dict[str, App] = field(default_factory=dict[str, App])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = self.answers.get(scope["path"])
        if own is not None:
            await own(scope, receive, send)
            return
        body = await whole_body(receive)
        target = (scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")).decode()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        self.seen.append(Seen(scope["method"], target, headers, body))
        await answer(
            send, {"from": self.name, "method": scope["method"], "target": target, "body": body.decode("latin-1")}
        )


async def whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def answer(send: Send, content: Any, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Served:
    """A server that runs; `server` is uvicorn's."""

    port: int
    server: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, request: bytes) -> bytes:
        """All that comes back on a connection of its own."""
        reader, writer = await self.connect()
        writer.write(request)
        async with asyncio.timeout(UNTIL_S):
            got = await reader.read()
        writer.close()
        return got


@asynccontextmanager
async def served(app: Any, leaks: Leaks | None = None, **options: Any) -> AsyncIterator[Served]:
    server = server_for(app, **options)
    listener = bind("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    if leaks is not None:
        leaks.watch("requests", lambda: len(server.server_state.tasks))
        leaks.watch("connections", lambda: len(server.server_state.connections))
    try:
        yield Served(listener.getsockname()[1], server)
    finally:
        server.should_exit = True
        await serving
        listener.close()


@dataclass
class InForce:
    settings: GatewaySettings


@dataclass
class World:
    """A gateway in front of `local`. `settings` may be changed at any time."""

    gateway: Gateway
    local: Echo
    ring: KeyRing
    in_force: InForce
    at: Served
    client: httpx.AsyncClient

    @property
    def settings(self) -> GatewaySettings:
        return self.in_force.settings

    @settings.setter
    def settings(self, settings: GatewaySettings) -> None:
        self.in_force.settings = settings

    def headers(self, account_id: int = 1, role: Any = "customer") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.ring.sign(Principal(account_id, role), 600)}"}


@asynccontextmanager
async def gateway_world(
    settings: GatewaySettings = EVERYTHING_LOCAL,
    *,
    limiters: dict[str, Limiter] | None = None,
    shedder: Shedder | None = None,
    clock: Clock | None = None,
    leaks: Leaks | None = None,
    seed: int = 1,
    **options: Any,
) -> AsyncIterator[World]:
    local, ring = Echo("local"), KeyRing([Key.generate()], SystemClock())
    ports = Ports(local, ring, clock or ManualClock(0), limiters or {}, shedder, random.Random(seed))
    in_force = InForce(settings)
    gateway = Gateway(ports, lambda: in_force.settings)
    async with served(gateway, leaks, **options) as at, httpx.AsyncClient(base_url=at.url, timeout=UNTIL_S) as client:
        world = World(gateway, local, ring, in_force, at, client)
        if leaks is not None:
            leaks.watch("requests to other servers", lambda: gateway._client.under_way + gateway._client.beside)
        try:
            yield world
        finally:
            await gateway.close()


def to(upstream: str, *urls: str, path: str = "/**", plugins: Any = (), **options: Any) -> GatewaySettings:
    """Everything goes to one upstream elsewhere."""
    route = Route("all", path, to=(Share(upstream),), plugins=tuple(plugins))
    return GatewaySettings((route,), (Upstream(upstream, urls, **options),))


async def until(true: Callable[[], object], otherwise: str = "it never happens") -> None:
    async with asyncio.timeout(UNTIL_S):
        while not true():
            await asyncio.sleep(0.002)
    assert true(), otherwise
