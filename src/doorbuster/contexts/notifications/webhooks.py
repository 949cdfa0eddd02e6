"""Outgoing webhooks: signed, bounded, never redirected, and only to public addresses.

`Doorbuster-Signature: t=<unix s>,v1=<hex hmac-sha256 of "<t>.<raw body>">`, as the payment provider signs its own.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from doorbuster.contexts.notifications.channels import Failed, Outcome, Refused, Sent
from doorbuster.contexts.notifications.model import Endpoint, Message
from doorbuster.contexts.notifications.outgoing import Policy, Resolve
from doorbuster.contexts.notifications.resilience import sent_through
from doorbuster.contexts.notifications.templates import one_line
from doorbuster.contracts.notifications import EndpointRefused
from doorbuster.kernel.clock import Clock, Instant
from doorbuster.platform.neighbour import Neighbour

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES_MAX = 4096
HEADER_BYTES_MAX = 8190
RETRY_AFTER_MAX_S = 3600

FindEndpoint = Callable[[int], Awaitable[Endpoint | None]]


def signature(secret: str, body: bytes, now_ms: Instant) -> str:
    second = str(now_ms // 1000)
    return f"t={second},v1={hmac.digest(secret.encode(), second.encode() + b'.' + body, 'sha256').hex()}"


class Webhooks:
    at_once, per_recipient = 16, 4

    def __init__(
        self,
        find: FindEndpoint,
        policy: Policy,
        resolve: Resolve,
        clock: Clock,
        timeout_s: float,
        neighbour: Callable[[str], Neighbour],
    ) -> None:
        """`find` gives an endpoint while it is registered, `neighbour` the one at a host. Raises Unavailable."""
        self._find = find
        self._neighbour = neighbour
        self._policy = policy
        self._resolve = resolve
        self._clock = clock
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: Message) -> Outcome:
        endpoint = await self._find(message.recipient_id)
        if endpoint is None:
            return Refused("the endpoint was deleted")
        try:
            host = self._policy.host_of(endpoint.url)
        except EndpointRefused as error:
            return Refused(error.detail)
        return await sent_through(self._neighbour(host), lambda: self._tried(endpoint, message))

    async def _tried(self, endpoint: Endpoint, message: Message) -> Outcome:
        import aiohttp  # only here, and below: most processes never call anybody

        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(endpoint, message)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            return Failed(one_line(f"{type(error).__name__}: {error}"))

    async def _post(self, endpoint: Endpoint, message: Message) -> Outcome:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Doorbuster",
            "Doorbuster-Signature": signature(endpoint.secret, message.content, self._clock.now_ms()),
            "Doorbuster-Event-Id": message.event_id,
            "Doorbuster-Delivery-Id": str(message.id),
        }
        session = self._opened()
        async with session.post(endpoint.url, data=message.content, headers=headers, allow_redirects=False) as answer:
            await answer.content.read(ANSWER_BYTES_MAX)
            if 200 <= answer.status < 300:
                return Sent()
            if answer.status == 410:
                return Refused("410: the endpoint is gone")
            return Failed(f"the endpoint answered {answer.status}", _retry_after_ms(answer))

    def _opened(self) -> aiohttp.ClientSession:
        """A connection per message: to keep one would be to keep the address it was checked for."""
        import aiohttp

        from doorbuster.contexts.notifications.checked_connector import CheckedResolver, checked_sockets

        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self.at_once,
                force_close=True,
                use_dns_cache=False,
                resolver=CheckedResolver(self._policy, self._resolve),
                socket_factory=checked_sockets(self._policy),
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
                read_bufsize=ANSWER_BYTES_MAX,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _retry_after_ms(answer: aiohttp.ClientResponse) -> int:
    text = answer.headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        return 0
    return min(int(text), RETRY_AFTER_MAX_S) * 1000
