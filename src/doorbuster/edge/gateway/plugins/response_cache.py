"""Answers kept for a moment: only to GETs of strangers, on routes that declare it, and within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.settings import LOCAL, ResponseCache
from doorbuster.kernel.clock import Clock
from doorbuster.platform.http.raw import Headers, Message, Scope, Send

Key = tuple[str | bytes | None, ...]

_PERSONAL = frozenset((b"authorization", b"cookie", b"range"))
_NOT_KEPT = frozenset((b"x-request-id", b"age", b"date"))


class Kept(NamedTuple):
    headers: Headers
    body: bytes
    at_ms: int


class Store:
    """Answers by what was asked; what is longest unused goes first."""

    def __init__(self, settings: ResponseCache) -> None:
        self._ttl_ms = settings.ttl_s * 1000
        self._entries_max = settings.entries_max
        self._bytes_max = settings.bytes_max
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, now_ms: int) -> Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if not 0 <= now_ms - kept.at_ms < self._ttl_ms:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: Key, kept: Kept) -> None:
        self._drop(key)
        self._kept[key] = kept
        self.bytes += _size(kept)
        while len(self._kept) > self._entries_max or self.bytes > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= _size(kept)


def cached(settings: ResponseCache, following: Handler, clock: Clock) -> Handler:
    """Each pipeline begins with an empty cache."""
    store = Store(settings)
    vary = tuple(name.lower().encode() for name in settings.vary)

    async def answer(exchange: Exchange) -> None:
        if not _is_for_everybody(exchange):
            await following(exchange)
            return
        key = _key(exchange, vary)
        kept = store.get(key, clock.now_ms())
        if kept is not None:
            await _answer_from(kept, exchange, clock.now_ms())
            return
        recorder = _Recorder(exchange.send, settings.entry_bytes_max)
        exchange.send = recorder
        await following(exchange)
        if recorder.complete and _may_be_kept(recorder, exchange.upstream, vary):
            headers = [line for line in recorder.headers if line[0] not in _NOT_KEPT]
            store.put(key, Kept(headers, b"".join(recorder.parts), clock.now_ms()))

    return answer


def _is_for_everybody(exchange: Exchange) -> bool:
    scope = exchange.scope
    return exchange.is_http and scope["method"] == "GET" and not any(name in _PERSONAL for name, _ in scope["headers"])


def _key(exchange: Exchange, vary: tuple[bytes, ...]) -> Key:
    scope = exchange.scope
    held = _held(scope, vary)
    return (exchange.upstream, scope["raw_path"], scope["query_string"], *(held.get(name) for name in vary))


def _held(scope: Scope, names: tuple[bytes, ...]) -> Mapping[bytes, bytes]:
    held: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in names:
            held[name] = held[name] + b"," + value if name in held else value
    return held


def _may_be_kept(recorder: _Recorder, upstream: str, vary: tuple[bytes, ...]) -> bool:
    """The shop stamps all its answers `no-store`, for those who do not know them; here the route knows better. Of
    another server it is believed."""
    for name, value in recorder.headers:
        if name == b"set-cookie":
            return False
        if name == b"vary" and not {each.strip() for each in value.lower().split(b",")} <= set(vary):
            return False
        if name == b"cache-control" and upstream != LOCAL and any(w in value for w in (b"no-store", b"private")):
            return False
    return recorder.status == 200


async def _answer_from(kept: Kept, exchange: Exchange, now_ms: int) -> None:
    headers: Headers = [
        *kept.headers,
        (b"age", b"%d" % ((now_ms - kept.at_ms) // 1000)),
        (b"x-request-id", exchange.context.request_id.encode()),
    ]
    await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": kept.body})


def _size(kept: Kept) -> int:
    return len(kept.body) + sum(len(name) + len(value) for name, value in kept.headers)


class _Recorder:
    """Passes an answer on and remembers it, up to a bound."""

    def __init__(self, send: Send, bytes_max: int) -> None:
        self._send = send
        self._left = bytes_max
        self.status = 0
        self.headers: Headers = []
        self.parts: list[bytes] = []
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self._left >= 0:
            part: bytes = message.get("body", b"")
            self._left -= len(part)
            if self._left >= 0:
                self.parts.append(part)
            else:
                self.parts.clear()
        await self._send(message)
        if message["type"] == "http.response.start":
            self.headers = [(bytes(name).lower(), value) for name, value in message.get("headers", ())]
        elif not message.get("more_body") and self._left >= 0:
            self.complete = True
