"""One WebSocket, as a context sees it: messages in, messages out, both bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog
from msgspec import Struct

from doorbuster.kernel.errors import Busy, Invalid, ShopError
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.http.live.following import ReadAfter, pages_after
from doorbuster.platform.http.problems import status_of
from doorbuster.platform.http.raw import Receive, Scope, Send

QUEUE_MESSAGES_MAX, QUEUE_BYTES_MAX = 512, 512 * 1024
"""What may wait for a slow reader, behind what the connection itself buffers (64 KiB). One message more, and the
reader is closed with 1013."""
STALLED_S = 10.0
"""A reader who takes nothing for so long is closed with 1013 too."""
MESSAGES_PER_S, MESSAGES_BURST = 50.0, 100.0
"""Messages that come faster are read later: the sender is slowed down, nothing is lost."""

NORMAL, FAILED, TRY_LATER = 1000, 1011, 1013
"""Close codes of RFC 6455. A ShopError closes with 4000 + its HTTP status, what may be tried again with 1013."""

log = structlog.get_logger("live")


class MessageMalformed(Invalid):
    """A message over a WebSocket is a JSON object in text, with a `type` that the address knows; `detail` says more."""

    slug = "message-malformed"
    title = "A message does not look like this"


class SocketGone(Exception):
    """The connection has ended. There is nobody to tell."""


class Error(Struct, frozen=True, tag="error"):
    """What went wrong; `ref` is what the message it answers called itself, if it did."""

    slug: str
    title: str
    detail: str
    ref: str | None = None


def close_code(error: ShopError) -> int:
    return TRY_LATER if isinstance(error, Busy) else 4000 + status_of(type(error))


class LiveSocket:
    """`send` never waits; `receive` waits for the next message. Made by `live.conduct`, which also ends it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._scope = scope
        self._principal: Principal | None = None
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._more = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._allowance = MESSAGES_BURST
        self._allowed_s = asyncio.get_running_loop().time()
        self._tasks: set[asyncio.Task[None]] = set()
        self.ending: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    @property
    def principal(self) -> Principal:
        assert self._principal is not None, "a route is served only to somebody"
        return self._principal

    def belongs_to(self, principal: Principal) -> None:
        self._principal = principal

    @property
    def request_id(self) -> str:
        return self._scope["request_id"]

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters of the address; of several with one name the last counts."""
        found = parse_qs(self._scope["query_string"].decode("latin-1"), max_num_fields=20)
        return {name: values[-1] for name, values in found.items()}

    async def receive(self) -> bytes | str:
        """The next message's text. Raises SocketGone, MessageMalformed (it is binary)."""
        await self._slow_down()
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise SocketGone
        text = message.get("text")
        if text is None:
            raise MessageMalformed("messages are text")
        return text

    async def _slow_down(self) -> None:
        now_s = asyncio.get_running_loop().time()
        earned = (now_s - self._allowed_s) * MESSAGES_PER_S
        self._allowance, self._allowed_s = min(MESSAGES_BURST, self._allowance + earned) - 1, now_s
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / MESSAGES_PER_S)

    def send(self, message: bytes | Struct) -> None:
        """Puts a message (JSON, or a Struct) into the queue. A reader who lets it fill up is closed with 1013."""
        encoded = message if isinstance(message, bytes) else msgspec.json.encode(message)
        if self.ending.done():
            return
        if len(self._out) >= QUEUE_MESSAGES_MAX or self._out_bytes + len(encoded) > QUEUE_BYTES_MAX:
            self.end(TRY_LATER, "too slow a reader")
            return
        self._out.append(encoded)
        self._out_bytes += len(encoded)
        self._drained.clear()
        self._more.set()

    async def send_paced(self, message: bytes | Struct) -> None:
        """The same for one of many that are there already: while the queue is half full it waits for the reader, so
        that a page of long messages is not taken for a slow one."""
        if len(self._out) >= QUEUE_MESSAGES_MAX // 2 or self._out_bytes >= QUEUE_BYTES_MAX // 2:
            await self.drained()
        self.send(message)

    def send_error(self, error: ShopError, ref: str | None = None) -> None:
        self.send(Error(error.slug, error.title, error.detail, ref))

    async def drained(self) -> None:
        """Until everything is handed to the connection. To be awaited between pages, so that a catch-up of any length
        is paced by its reader."""
        await self._drained.wait()

    def end(self, code: int, reason: str) -> None:
        """Asks for the connection to be closed; the first reason counts."""
        if not self.ending.done():
            self.ending.set_result((code, reason))

    async def follow(self, hub: Hub, topic: int, read: ReadAfter, cursor: int) -> None:
        """Sends {"type":"item","cursor":"…","item":…} for each row behind `cursor`, until the socket is gone."""
        with hub.subscribe(topic) as subscription:
            async for rows in pages_after(read, subscription, cursor):
                for at, item in rows:
                    await self.send_paced(b'{"type":"item","cursor":"%d","item":%b}' % (at, item))
                await self.drained()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` beside the route, until the connection ends. If it fails, the connection does."""
        task = asyncio.create_task(work, name="live-work")
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, ShopError):
            self.send_error(error)
            self.end(close_code(error), error.slug)
        else:
            log.error("live connection failed", request_id=self.request_id, exc_info=error)
            self.end(FAILED, "internal error")

    async def stop(self) -> None:
        """Ends what was started."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def write_out(self) -> None:
        """Hands the queue to the connection, until cancelled. Raises OSError (the client is gone)."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._out:
                message = self._out.popleft()
                self._out_bytes -= len(message)
                try:
                    async with asyncio.timeout(STALLED_S):
                        await self._send({"type": "websocket.send", "text": message.decode()})
                except TimeoutError:
                    self.end(TRY_LATER, "too slow a reader")
                    return
            self._drained.set()


async def stream(socket: LiveSocket, hub: Hub, topic: int, read: ReadAfter, cursor: int | None = None) -> None:
    """Serves a socket that only listens: rows behind `cursor`, or behind `?after=` of the address (default 0).

    Messages that come in are refused. Raises SocketGone, InvalidId.
    """
    start = parse_id(socket.query.get("after", "0")) if cursor is None else cursor
    socket.start(socket.follow(hub, topic, read, start))
    while True:
        await socket.receive()
        socket.send_error(MessageMalformed("nothing is expected here"))
