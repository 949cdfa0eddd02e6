"""Whose request it is by address. What a client says of itself counts for nothing; what our own proxies say does."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from doorbuster.platform.http.raw import Scope

Networks = tuple[IPv4Network | IPv6Network, ...]

HOPS_MAX = 16
PEERS_KEPT = 4096


def client_address(scope: Scope, trusted: Networks) -> str:
    """The last address on the way that is not one of our proxies."""
    peer = peer_of(scope)
    if not trusted or not is_trusted(peer, trusted):
        return peer
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop.strip() for hop in b",".join(values).decode("latin-1").split(",")]
    for hop in reversed(hops[-HOPS_MAX:]):
        if not _is_address(hop):
            break  # whoever wrote this is no proxy of ours
        peer = hop
        if not is_trusted(hop, trusted):
            break
    return peer


def peer_of(scope: Scope) -> str:
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else "unknown"


@lru_cache(PEERS_KEPT)
def is_trusted(address: str, trusted: Networks) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found.version == network.version and found in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
