"""A request passed on, and its answer passed back, both a part at a time and no faster than they are taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import structlog

from doorbuster.edge.gateway.addresses import Networks
from doorbuster.edge.gateway.exchange import Exchange
from doorbuster.edge.gateway.remote.client import RemoteClient
from doorbuster.edge.gateway.remote.fields import Fields, answer_fields, request_fields
from doorbuster.edge.gateway.remote.upload import Upload, upload_of
from doorbuster.edge.gateway.settings import Upstream
from doorbuster.platform.http.problems import BadGateway, GatewayTimeout, RequestTooSlow, UpstreamUnavailable

if TYPE_CHECKING:
    import aiohttp

ENDLESS = "endless"
"""What an event stream puts into the scope, so that a server that stops cuts it instead of waiting."""
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_EVENT_STREAM_STALLED = 4
TURNS_MAX = 3
"""Addresses that are tried for one request."""

log = structlog.get_logger("gateway")


async def pass_on(
    exchange: Exchange, upstream: Upstream, bases: Sequence[str], client: RemoteClient, trusted: Networks
) -> None:
    """Raises what `RemoteUpstream` says, and only before the answer has begun; after that the answer is cut off."""
    upload = upload_of(exchange.scope, exchange.receive, upstream.body_bytes_max)
    fields = request_fields(exchange.scope, exchange.context, trusted)
    with ExitStack() as stack:
        question = _Question(exchange, upstream, client, fields, upload)
        answer = await question.ask(bases, stack)
        stack.callback(answer.close)  # does nothing once all of it is read
        await _pass_back(exchange, upstream, answer)


class _Question:
    """A request on its way to one address or another."""

    def __init__(
        self, exchange: Exchange, upstream: Upstream, client: RemoteClient, fields: Fields, upload: Upload | None
    ) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._client = client
        self._fields = fields
        self._upload = upload

    async def ask(self, bases: Sequence[str], stack: ExitStack) -> aiohttp.ClientResponse:
        """The head of the answer, or why there is none; a place at its address is kept in `stack`."""
        import aiohttp

        left_s = self._exchange.context.within(self._upstream.answer_s).left_s()
        upload = self._upload
        try:
            async with asyncio.timeout(left_s):
                return await self._ask_in_turn(bases, stack)
        except TimeoutError as error:
            if upload is not None and upload.awaited:
                raise RequestTooSlow from error
            raise GatewayTimeout from error
        except aiohttp.ClientError as error:
            if upload is not None and upload.failure is not None:
                raise upload.failure from error
            log.warning("upstream broke off", upstream=self._upstream.name, error=repr(error))
            raise BadGateway from error

    async def _ask_in_turn(self, bases: Sequence[str], stack: ExitStack) -> aiohttp.ClientResponse:
        """One address after the other while nothing has been sent. What is safe and has no body is asked again once,
        if a connection that was kept turns out to be closed; nothing else is ever repeated."""
        import aiohttp

        turns = deque(bases[:TURNS_MAX])
        may_repeat = self._upload is None and self._exchange.scope["method"] in _SAFE
        while True:
            base = turns.popleft()
            with ExitStack() as place:
                place.enter_context(self._client.place(base, self._upstream.connections_max))
                try:
                    answer = await self._ask(base)
                except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                    if not turns:
                        log.warning("upstream cannot be reached", upstream=self._upstream.name, error=repr(error))
                        raise UpstreamUnavailable from error
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    if not may_repeat:
                        raise
                    may_repeat = False
                    turns.append(base)
                else:
                    stack.push(place.pop_all())
                    return answer

    async def _ask(self, base: str) -> aiohttp.ClientResponse:
        import aiohttp
        from yarl import URL

        scope = self._exchange.scope
        query: bytes = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        return await self._client.session.request(
            scope["method"],
            URL(base + target.decode("latin-1"), encoded=True),
            headers=self._fields,
            data=None if self._upload is None else self._upload.parts(),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._upstream.connect_s),
        )


async def _pass_back(exchange: Exchange, upstream: Upstream, answer: aiohttp.ClientResponse) -> None:
    """An answer that breaks off breaks off for the client too: the server cuts a connection that is left unfinished."""
    import aiohttp

    headers = answer_fields(answer.raw_headers, answer.status, exchange.context.request_id)
    is_stream = answer.content_type == "text/event-stream"
    if is_stream:
        exchange.scope[ENDLESS] = True
    stalled_s = upstream.stalled_s * (_EVENT_STREAM_STALLED if is_stream else 1)
    deadline = None if is_stream else exchange.context.deadline
    await exchange.send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        while True:
            left_s = stalled_s if deadline is None else min(stalled_s, deadline.left_s())
            async with asyncio.timeout(left_s):
                part = await answer.content.readany()
            if not part:
                break
            await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("an answer broke off", upstream=upstream.name, error=repr(error))
        return
    await exchange.send({"type": "http.response.body", "body": b""})
