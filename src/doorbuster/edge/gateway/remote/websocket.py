"""A WebSocket passed on: two sockets and a pump in each direction, each as fast as the slower end takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from doorbuster.edge.gateway.addresses import Networks
from doorbuster.edge.gateway.exchange import Exchange
from doorbuster.edge.gateway.remote.client import RemoteClient
from doorbuster.edge.gateway.remote.fields import Fields, request_fields
from doorbuster.edge.gateway.settings import Upstream
from doorbuster.platform.http.bounded_ws import MESSAGE_BYTES_MAX
from doorbuster.platform.http.problems import BadGateway, GatewayTimeout, UpstreamUnavailable

if TYPE_CHECKING:
    import aiohttp

BAD_GATEWAY, GOING_AWAY, NORMAL = 1014, 1001, 1000
CLOSE_S = 2.0
_OF_THE_HANDSHAKE = frozenset(
    ("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol")
)
_SENDABLE = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))
"""Close codes that may stand in a frame (RFC 6455, 7.4)."""

log = structlog.get_logger("gateway")


async def connect_through(
    exchange: Exchange, upstream: Upstream, bases: Sequence[str], client: RemoteClient, trusted: Networks
) -> None:
    """Raises BadGateway, GatewayTimeout, UpstreamUnavailable before the client's socket is accepted."""
    fields = [
        (name, value)
        for name, value in request_fields(exchange.scope, exchange.context, trusted)
        if name not in _OF_THE_HANDSHAKE
    ]
    await exchange.receive()  # "websocket.connect"
    base = bases[0]
    with client.place(base, upstream.connections_max):
        socket = await _connected(exchange, upstream, base, client, fields)
        if socket is None:
            return
        try:
            await exchange.send({"type": "websocket.accept", "subprotocol": socket.protocol})
            await _pump(exchange, socket)
        finally:
            await socket.close(code=GOING_AWAY)


async def _connected(
    exchange: Exchange, upstream: Upstream, base: str, client: RemoteClient, fields: Fields
) -> aiohttp.ClientWebSocketResponse | None:
    """None if the other server has refused, which is passed back."""
    import aiohttp
    from yarl import URL

    scope = exchange.scope
    query: bytes = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    try:
        async with asyncio.timeout(exchange.context.within(upstream.answer_s).left_s()):
            return await client.session.ws_connect(
                URL(base + target.decode("latin-1"), encoded=True),
                headers=fields,
                protocols=tuple(scope.get("subprotocols", ())),
                max_msg_size=MESSAGE_BYTES_MAX,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),  # type: ignore[call-arg]  # made by attrs
                autoclose=True,
                autoping=True,
            )
    except aiohttp.WSServerHandshakeError as refusal:
        if refusal.status < 400:
            raise BadGateway("the server behind does not speak WebSocket here") from refusal
        await _pass_refusal_back(exchange, refusal)
        return None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise UpstreamUnavailable from error
    except TimeoutError as error:
        raise GatewayTimeout from error
    except aiohttp.ClientError as error:
        raise BadGateway from error


async def _pass_refusal_back(exchange: Exchange, refusal: aiohttp.WSServerHandshakeError) -> None:
    """Its status; what it said beside is not known to the client library."""
    headers = [(b"x-request-id", exchange.context.request_id.encode()), (b"content-length", b"0")]
    await exchange.send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await exchange.send({"type": "websocket.http.response.body", "body": b""})


async def _pump(exchange: Exchange, socket: aiohttp.ClientWebSocketResponse) -> None:
    """Until one end closes; the other is closed with the same code."""
    outward = asyncio.create_task(_outward(exchange, socket), name="gateway-socket-out")
    inward = asyncio.create_task(_inward(exchange, socket), name="gateway-socket-in")
    try:
        done, _ = await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (outward, inward):
            task.cancel()
        await asyncio.gather(outward, inward, return_exceptions=True)
    for task in done:
        task.result()


async def _outward(exchange: Exchange, socket: aiohttp.ClientWebSocketResponse) -> None:
    """From the client to the other server."""
    while True:
        message = await exchange.receive()
        if message["type"] != "websocket.receive":
            await socket.close(code=_code(message.get("code")), message=str(message.get("reason") or "").encode()[:120])
            return
        text: str | None = message.get("text")
        try:
            if text is not None:
                await socket.send_str(text)
            else:
                await socket.send_bytes(message["bytes"])
        except (ConnectionError, RuntimeError):
            return  # closing: the other pump says why


async def _inward(exchange: Exchange, socket: aiohttp.ClientWebSocketResponse) -> None:
    """From the other server to the client."""
    import aiohttp

    while True:
        message = await socket.receive()
        if message.type == aiohttp.WSMsgType.TEXT:
            await exchange.send({"type": "websocket.send", "text": message.data})
        elif message.type == aiohttp.WSMsgType.BINARY:
            await exchange.send({"type": "websocket.send", "bytes": message.data})
        else:
            code, reason = _end(message, socket.close_code)
            await exchange.send({"type": "websocket.close", "code": code, "reason": reason})
            return


def _end(message: Any, code: int | None) -> tuple[int, str]:
    """What the client is told of the end; without a close frame the other server has broken off."""
    import aiohttp

    if message.type == aiohttp.WSMsgType.CLOSE:
        return _code(message.data), str(message.extra or "")
    log.warning("a socket broke off", code=code)
    return BAD_GATEWAY, "the server behind broke off"


def _code(code: int | None) -> int:
    return code if code in _SENDABLE else NORMAL
