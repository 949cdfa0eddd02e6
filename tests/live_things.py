"""A context of nothing but streams: things that are appended in memory, and sockets of all kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from litestar import get

from doorbuster.kernel.errors import NotFound, Unavailable
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.hub import Hub, ReadChanges
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Faces
from doorbuster.platform.http.faces import AnyRequest, allow
from doorbuster.platform.http.live import (
    MEDIA_TYPE,
    EventStream,
    LiveRoute,
    LiveSocket,
    event_stream,
    last_event_id,
    stream,
)

ANN, BEN = Principal(1, "customer"), Principal(2, "customer")
COURIER = Principal(3, "courier")
TOPIC = 7
Serve = Callable[[LiveSocket, str], Awaitable[None]]


class Missing(NotFound):
    pass


@dataclass
class Things:
    """`questions`: how often the hub and readers asked. `away`: the store cannot be asked."""

    wakeups: Wakeups = field(default_factory=Wakeups)
    rows: list[bytes] = field(default_factory=list)
    questions: int = 0
    readings: int = 0
    away: bool = False
    serve: Serve | None = None
    parameters: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hub = Hub("things", self.wakeups, ReadChanges(self._newest, self._changes), sweep_s=0.05)

    def add(self, *, wake: bool = True) -> None:
        self.rows.append(b'{"n":%d}' % (len(self.rows) + 1))
        if wake:
            self.wakeups.wake("things")

    async def _newest(self) -> int:
        return len(self.rows)

    async def _changes(self, after: int) -> tuple[int, Collection[int]]:
        self.questions += 1
        if self.away:
            raise Unavailable
        return len(self.rows), {TOPIC} if len(self.rows) > after else set()

    async def read(self, cursor: int, limit: int) -> Sequence[tuple[int, bytes]]:
        self.readings += 1
        if self.away:
            raise Unavailable
        await asyncio.sleep(0)
        return [(at + 1, self.rows[at]) for at in range(cursor, min(len(self.rows), cursor + limit))]

    def faces(self) -> Faces:
        @get("/v1/things/stream", guards=[allow("customer")], media_type=MEDIA_TYPE, tags=["t"], summary="Things")
        async def things(request: AnyRequest) -> EventStream:
            return event_stream(request, self.hub, TOPIC, self.read, last_event_id(request))

        async def listen(socket: LiveSocket, _: str) -> None:
            await stream(socket, self.hub, TOPIC, self.read)

        async def own(socket: LiveSocket, parameter: str) -> None:
            self.parameters.append(parameter)
            assert self.serve is not None
            await self.serve(socket, parameter)

        return Faces(
            [things],
            live_routes=[
                LiveRoute("/v1/things/live", ("customer",), listen, "Things", ("t",)),
                LiveRoute("/v1/things/{thing_id}/talk", ("customer", "guest"), own, "Talk", ("t",)),
            ],
        )


async def echo(socket: LiveSocket, _: str) -> None:
    while True:
        text = await socket.receive()
        socket.send(text.encode() if isinstance(text, str) else text)
