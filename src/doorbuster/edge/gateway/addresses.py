"""Whose request it is by address. What a client says of itself counts for nothing; what our own proxies say does."""

from __future__ import annotations

from doorbuster.platform.http.raw import Scope
from doorbuster.platform.limits.addresses import Networks, client_of, is_trusted

__all__ = ["Networks", "client_address", "is_trusted", "peer_of"]


def client_address(scope: Scope, trusted: Networks) -> str:
    """The last address on the way that is not one of our proxies."""
    peer = peer_of(scope)
    if not trusted or not is_trusted(peer, trusted):
        return peer
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return client_of(peer, b",".join(values).decode("latin-1"), trusted)


def peer_of(scope: Scope) -> str:
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else "unknown"
