"""Which addresses of the world outgoing webhooks may go to: public ones, whatever they are written or resolved like.

Checked when an endpoint is registered, when its name is resolved for a connection (the connection goes to the checked
address and nowhere else), and once more on the socket's own address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from doorbuster.contracts.notifications import EndpointRefused

URL_MAX = 500
RESOLVE_S = 5.0
ADDRESSES_MAX = 32

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A host name → its addresses, as text. Raises OSError."""

_URL = re.compile(r"https?://[!-~]+")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_RESERVED_NAMES = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "arpa",
    "onion",
    "test",
    "invalid",
)

_REFUSED_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host, by a public address
        "169.254.0.0/16",  # link-local, and metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
"""The rest is loopback, link-local, unique local, multicast, NAT64, IPv4 in disguise, or not given out."""
_REFUSED_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # 6to4: holds an IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


class Refusal(OSError):
    """A connection that is not made. An OSError, as the connector expects of a resolver."""


class Policy(Struct, frozen=True):
    """`local`: anything goes, for development."""

    local: bool = False

    def allows(self, address: str) -> bool:
        """Whether connections may go to this address."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return self.local or is_public(ip)

    def host_of(self, url: str) -> str:
        """The host of a URL that may be called as far as its text tells. Raises EndpointRefused."""
        if len(url) > URL_MAX or not _URL.fullmatch(url) or "\\" in url:
            raise EndpointRefused(f"an address is https://…, at most {URL_MAX} visible ASCII characters")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise EndpointRefused("not a URL") from error
        if parts.scheme != "https" and not self.local:
            raise EndpointRefused("webhooks go to https:// only")
        if parts.username is not None or parts.password is not None or "@" in parts.netloc:
            raise EndpointRefused("an address holds no user and no password")
        if parts.fragment or "#" in url:
            raise EndpointRefused("an address holds no fragment")
        if not host or port == 0:
            raise EndpointRefused("an address has a host")
        if not self.local and port is not None and port < 1024 and port != 443:
            raise EndpointRefused("the port is 443, or 1024 and above")
        self._check_host(host, bracketed="[" in parts.netloc)
        return host

    def _check_host(self, host: str, *, bracketed: bool) -> None:
        if bracketed or _is_number(host.rpartition(".")[2]):
            # Only what every parser reads alike: no 0177.0.0.1, no 2130706433, no 127.1.
            try:
                literal = ipaddress.ip_address(host)
            except ValueError as error:
                raise EndpointRefused("not an address that means the same everywhere") from error
            if not self.allows(str(literal)):
                raise EndpointRefused("this address is not public")
            return
        if self.local:
            return
        if len(host) > 253 or not _NAME.fullmatch(host):
            raise EndpointRefused("not a public host name")
        if host.rpartition(".")[2] in _RESERVED_NAMES:
            raise EndpointRefused("not a public host name")


def is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _REFUSED_4)
    return ip.scope_id is None and ip in _GLOBAL_6 and not any(ip in network for network in _REFUSED_6)


def _is_number(label: str) -> bool:
    """Whether a host that ends so is an IPv4 address to some parser (WHATWG URL: "ends in a number")."""
    return label == "" or label.isdigit() or label.startswith("0x")


async def resolve_by_system(host: str) -> Sequence[str]:
    """Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def check_endpoint(policy: Policy, resolve: Resolve, url: str) -> None:
    """Whether webhooks may go there today. Raises EndpointRefused."""
    host = policy.host_of(url)
    try:
        await checked_addresses(policy, resolve, host)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise EndpointRefused("this host is unknown, or has an address that is not public") from error


async def checked_addresses(policy: Policy, resolve: Resolve, host: str) -> Sequence[str]:
    """All of them are fit, or none is used. Raises Refusal, OSError, TimeoutError."""
    async with asyncio.timeout(RESOLVE_S):
        addresses = await _literal_or(resolve, host)
    if not addresses or len(addresses) > ADDRESSES_MAX:
        raise Refusal("the host has no address, or too many")
    if not all(policy.allows(address) for address in addresses):
        raise Refusal("the host has an address that is not public")
    return addresses


async def _literal_or(resolve: Resolve, host: str) -> Sequence[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return await resolve(host)
