"""A real server on a free port, in the test's own event loop: for what only shows on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from doorbuster.edge.api import build_api
from doorbuster.edge.door import Door
from doorbuster.edge.live_door import LiveDoor
from doorbuster.kernel.clock import Clock, SystemClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.context import Faces
from doorbuster.platform.http.gate import Gate
from doorbuster.platform.http.live import Live
from doorbuster.platform.http.server import bind, server_for
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import LiveSettings

UNTIL_S = 20.0
"""How long a test waits for what must happen; only a failure takes so long."""


@dataclass
class LiveServer:
    port: int
    ring: KeyRing
    live: Live
    server: Any

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, principal: Principal, lifetime_s: int = 600) -> str:
        return self.ring.sign(principal, lifetime_s)

    def headers(self, principal: Principal, lifetime_s: int = 600) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(principal, lifetime_s)}"}

    def connect(self, path: str, principal: Principal | None = None, **options: Any) -> connect:
        """`async with server.connect("/v1/…", principal) as socket`; nothing has been received yet."""
        headers = {} if principal is None else self.headers(principal)
        headers |= options.pop("additional_headers", {})
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, proxy=None, **options)


@asynccontextmanager
async def live_server(
    faces: Sequence[Faces],
    settings: LiveSettings | None = None,
    ring: KeyRing | None = None,
    clock: Clock | None = None,
    timeout_s: float = 5.0,
    gate: Gate | None = None,
) -> AsyncIterator[LiveServer]:
    """Serves these faces behind the real door until the block ends. `ring` and `clock` default to new, real ones."""

    async def ready() -> Sequence[str]:
        return ()

    clock = clock or SystemClock()
    ring = ring or KeyRing([Key.generate()], clock)
    live = Live(settings or LiveSettings(), ring, clock)
    raw_routes = [route for face in faces for route in face.raw_routes]
    live_routes = [route for face in faces for route in face.live_routes]
    api = build_api([route for face in faces for route in face.routes], raw_routes, ready, live_routes)
    server = server_for(Door(api, raw_routes, ring, 64 * 1024, timeout_s, LiveDoor(live, live_routes)), gate=gate)
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.001)
        yield LiveServer(port, ring, live, server)
    finally:
        server.should_exit = True
        await serving


async def received(socket: ClientConnection) -> Any:
    """The next message, decoded."""
    async with asyncio.timeout(UNTIL_S):
        return json.loads(await socket.recv())


async def closed(socket: ClientConnection) -> int:
    """Reads to the end; the code the server closed with (1006 without a close frame)."""
    async with asyncio.timeout(UNTIL_S):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
        await socket.wait_closed()
    return socket.close_code or 1006
