"""Whose address a request comes from, and what counts as one client."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]

HOPS_MAX = 32
"""Entries of X-Forwarded-For that are looked at, from the right; the rest is the client's own invention."""
V6_BITS = 64
"""A household or a server gets a whole /64, so single addresses of it are one client."""


def client_of(peer: str, forwarded_for: str, proxies: Networks) -> str:
    """The address of the client: the rightmost one that is no trusted proxy.

    `forwarded_for` is the value of X-Forwarded-For, all of its lines joined by commas. An entry that is no address ends
    the search at whoever sent it. A peer without an address (a Unix socket) is one client by its name.
    """
    client = peer
    if not forwarded_for or not is_trusted(client, proxies):
        return client
    hops = forwarded_for.rsplit(",", HOPS_MAX)[-HOPS_MAX:]
    for hop in reversed(hops):
        named = _without_port(hop.strip())
        if _parsed(named) is None:
            return client
        client = named
        if not is_trusted(client, proxies):
            return client
    return client


@lru_cache(maxsize=4_096)
def is_trusted(address: str, proxies: Networks) -> bool:
    """Whether its word about the address before it is believed."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in each for each in proxies)


@lru_cache(maxsize=16_384)
def client_key(address: str) -> str:
    """What limits count by: an IPv4 address, the /64 of an IPv6 address, an IPv4 address inside IPv6 as itself."""
    parsed = _parsed(address)
    if parsed is None:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((int(parsed) >> V6_BITS << V6_BITS, 128 - V6_BITS)))


@lru_cache(maxsize=16_384)
def _parsed(address: str) -> Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _without_port(hop: str) -> str:
    """`203.0.113.7:4711` and `[2001:db8::1]:4711`, as some proxies write."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
