"""A copy of a request to a candidate: sent when the real answer is out, read, and thrown away."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import structlog

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.remote.client import RemoteClient
from doorbuster.edge.gateway.remote.fields import Fields, request_fields
from doorbuster.edge.gateway.settings import Mirror, Upstream
from doorbuster.edge.gateway.site import Site
from doorbuster.platform.http.raw import Message, Receive

MARK = ("X-Mirrored", "1")
"""So that the candidate can tell copies from the real thing."""
ANSWER_BYTES_MAX = 1024 * 1024

log = structlog.get_logger("gateway")


class _Copy(NamedTuple):
    method: str
    target: str
    fields: Fields
    body: bytes


def mirrored(settings: Mirror, following: Handler, site: Site) -> Handler:
    share, methods = settings.percent / 100, frozenset(settings.methods)
    candidate, client, dice = site.declared[settings.upstream], site.client, site.ports.dice

    async def answer_and_copy(exchange: Exchange) -> None:
        scope = exchange.scope
        if not exchange.is_http or scope["method"] not in methods or dice.random() >= share:
            await following(exchange)
            return
        fields = [*request_fields(scope, exchange.context, site.trusted), MARK]
        body = _Reader(exchange.receive, settings.body_bytes_max)
        exchange.receive = body
        await following(exchange)
        # Looked at last: what is under way now counts, not what was when the request came.
        if body.may_be_copied and client.beside < settings.in_flight_max:
            target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            copy = _Copy(scope["method"], target.decode("latin-1"), fields, body.read)
            client.start(_send(copy, candidate, client))

    return answer_and_copy


class _Reader:
    """Passes a body on and remembers it, up to a bound."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._left = bytes_max
        self._parts: list[bytes] = []
        self._ended = True

    @property
    def may_be_copied(self) -> bool:
        """All of it is here, also if that is nothing."""
        return self._ended and self._left >= 0

    @property
    def read(self) -> bytes:
        return b"".join(self._parts)

    async def __call__(self) -> Message:
        self._ended = False
        message = await self._receive()
        if message["type"] == "http.request":
            part: bytes = message.get("body", b"")
            self._left -= len(part)
            if self._left >= 0:
                self._parts.append(part)
            else:
                self._parts.clear()
            self._ended = not message.get("more_body", False)
        return message


async def _send(copy: _Copy, candidate: Upstream, client: RemoteClient) -> None:
    """Raises nothing: whatever the candidate does is its own business."""
    import aiohttp
    from yarl import URL

    base = candidate.urls[0].rstrip("/")
    try:
        async with asyncio.timeout(candidate.answer_s):
            async with client.session.request(
                copy.method,
                URL(base + copy.target, encoded=True),
                headers=copy.fields,
                data=copy.body or None,
                allow_redirects=False,
            ) as answer:
                left = ANSWER_BYTES_MAX
                while left > 0 and (part := await answer.content.readany()):
                    left -= len(part)
                if left <= 0:
                    answer.close()
                status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.info("a copy was not answered", upstream=candidate.name, error=repr(error))
        return
    if status >= 500:
        log.info("a copy failed", upstream=candidate.name, status=status)
