"""Server-sent events: the same streams for clients that only listen, over plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, cast

from litestar import Response
from litestar.response.base import ASGIResponse

from doorbuster.kernel.ids import ID_MAX
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.http.faces import AnyRequest, principal_of
from doorbuster.platform.http.live.conduct import Live
from doorbuster.platform.http.live.following import ReadAfter, pages_after
from doorbuster.platform.http.raw import NO_STORE, ClientGone, Headers, Receive, Scope, Send, step_out
from doorbuster.platform.sql.paging import BadCursor

HEARTBEAT_S = 15.0
"""A comment is sent when nothing else was for so long: it keeps proxies from closing, and finds out who has gone."""
RETRY_MS = 2000
"""How long a client waits before it comes back."""
MEDIA_TYPE = "text/event-stream"
STREAMS = "streams"
"""In a handler's `opt`: the Structs that its event stream sends. The AsyncAPI document describes them."""
HEADERS: Headers = [(b"content-type", MEDIA_TYPE.encode()), NO_STORE, (b"x-accel-buffering", b"no")]

LIVE = "live"
ENDLESS = "endless"
TIME_LIMIT = "time_limit"
"""What the door puts into the scope for streams: the process's `Live`, and the request's `asyncio.Timeout`; and what
a stream puts there for the server: that it has no end of its own."""


def last_event_id(request: AnyRequest, default: int = 0) -> int:
    """Where a client that comes back goes on: Last-Event-ID, else `?after=`, else `default`. Raises BadCursor."""
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= ID_MAX):
        raise BadCursor
    return int(text)


def event_stream(request: AnyRequest, hub: Hub, topic: int, read: ReadAfter, cursor: int) -> EventStream:
    """The answer of a GET handler: each row behind `cursor` as an event whose id is its cursor.

    Whose rows they are, and that they may be read, is checked before. Declare the handler with `media_type=MEDIA_TYPE`.
    It ends when the client leaves, the token expires or the server stops; it is refused with LiveConnectionsFull or
    TooManyConnections.
    """
    return EventStream(principal_of(request).account_id, hub, topic, read, cursor)


class EventStream(Response[bytes]):
    """Answers by itself, for as long as its client listens."""

    def __init__(self, account_id: int, hub: Hub, topic: int, read: ReadAfter, cursor: int) -> None:
        super().__init__(b"", media_type=MEDIA_TYPE)
        self._account_id = account_id
        self._hub = hub
        self._topic = topic
        self._read = read
        self._cursor = cursor

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        return cast("ASGIResponse", self._answer)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises LiveConnectionsFull, TooManyConnections before it begins."""
        live = cast("Live", scope[LIVE])
        with live.places.taken(self._account_id):
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            if not scope.get("head_only"):
                scope[ENDLESS] = True
                step_out(scope)
                cast("asyncio.Timeout", scope[TIME_LIMIT]).reschedule(None)
                await self._stream(receive, send, live.lifetime_s(live.expires_ms(scope)))
            await send({"type": "http.response.body", "body": b""})

    async def _stream(self, receive: Receive, send: Send, lifetime_s: float) -> None:
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        tasks = [
            asyncio.create_task(_gone(receive), name="event-stream-client"),
            asyncio.create_task(self._events(send), name="event-stream"),
        ]
        try:
            await asyncio.wait(tasks, timeout=lifetime_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled():
                task.result()  # what failed is logged by the door, and cuts the stream off

    async def _events(self, send: Send) -> None:
        beating = asyncio.Lock()

        async def beat() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                async with beating:
                    await _send(send, b":\n\n")

        with self._hub.subscribe(self._topic) as subscription:
            heart = asyncio.create_task(beat(), name="event-stream-heart")
            try:
                async for rows in pages_after(self._read, subscription, self._cursor):
                    async with beating:
                        await _send(send, _encoded(rows))
            finally:
                heart.cancel()
                await asyncio.gather(heart, return_exceptions=True)


def _encoded(rows: Sequence[tuple[int, bytes]]) -> bytes:
    return b"".join(b"id: %d\ndata: %b\n\n" % row for row in rows)


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    """Until the client has left."""
    with contextlib.suppress(ClientGone):
        while (await receive())["type"] != "http.disconnect":
            pass
