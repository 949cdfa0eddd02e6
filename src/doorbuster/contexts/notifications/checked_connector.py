"""What holds the HTTP client to the addresses that were checked. Imported with the first webhook that is sent."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from doorbuster.contexts.notifications.outgoing import Policy, Refusal, Resolve, checked_addresses


class CheckedResolver(AbstractResolver):
    """Gives the connector checked addresses, which it connects to without asking anybody again."""

    def __init__(self, policy: Policy, resolve: Resolve) -> None:
        self._policy = policy
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            addresses = await checked_addresses(self._policy, self._resolve, host)
        except TimeoutError as error:
            raise Refusal("the name service does not answer") from error
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def checked_sockets(policy: Policy) -> Callable[[Any], socket.socket]:
    """Makes sockets for addresses that are fit, whichever way they came. Raises Refusal."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not policy.allows(str(address[0])):
            raise Refusal("the address is not public")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make
