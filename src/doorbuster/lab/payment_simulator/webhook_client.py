"""Posts webhooks over a few kept connections per receiver. Redirects are not followed."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict

from doorbuster.lab.payment_simulator.targets import Target, parse_target
from doorbuster.lab.payment_simulator.webhook_connection import WebhookConnection

IDLE_SECONDS_MAX = 2.0  # shorter than the keep-alive of common servers (uvicorn: 5 s), so that they rarely win the race
RECEIVERS_MAX = 64

_Origin = tuple[bool, str, int]


class WebhookClient:
    """A pool of connections; the caller bounds how many posts run at once."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._idle: OrderedDict[_Origin, list[WebhookConnection]] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes, header: str, signature: str) -> int:
        """Post ``body``, signed in ``header``; returns the HTTP status.

        Raises:
            OSError: no connection, or it broke before the answer.
            TimeoutError: (an OSError) no answer within the timeout.
        """
        target = parse_target(url)
        async with asyncio.timeout(self._timeout_s):
            connection = self._take_idle(target) or await self._connect(target)
            status = await connection.post(_request(target, body, header, signature))
        self._put_back(target, connection)
        return status

    def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _connect(self, target: Target) -> WebhookConnection:
        tls = self._tls_context() if target.tls else None
        _, connection = await self._loop.create_connection(WebhookConnection, target.host, target.port, ssl=tls)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _take_idle(self, target: Target) -> WebhookConnection | None:
        connections = self._idle.get(_origin(target), [])
        oldest_s = self._loop.time() - IDLE_SECONDS_MAX
        while connections:
            connection = connections.pop()
            if connection.reusable and connection.idle_since_s >= oldest_s:
                return connection
            connection.close()
        return None

    def _put_back(self, target: Target, connection: WebhookConnection) -> None:
        if not connection.reusable:
            connection.close()
            return
        connection.idle_since_s = self._loop.time()
        self._idle.setdefault(_origin(target), []).append(connection)
        self._idle.move_to_end(_origin(target))
        if len(self._idle) > RECEIVERS_MAX:
            _, forgotten = self._idle.popitem(last=False)
            for old in forgotten:
                old.close()


def _origin(target: Target) -> _Origin:
    return target.tls, target.host, target.port


def _request(target: Target, body: bytes, header: str, signature: str) -> bytes:
    head = (
        f"POST {target.path} HTTP/1.1\r\n"
        f"Host: {target.authority}\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"User-Agent: doorbuster-payment-simulator\r\n"
        f"{header}: {signature}\r\n\r\n"
    )
    return head.encode("ascii") + body
