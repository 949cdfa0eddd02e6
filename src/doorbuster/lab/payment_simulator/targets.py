"""Where a webhook goes: an address checked once, in the form the client needs."""

from __future__ import annotations

import functools
from urllib.parse import urlsplit

from msgspec import Struct


class Target(Struct, frozen=True):
    """A parsed webhook address; ``authority`` is the Host header, ``path`` includes the query."""

    tls: bool
    host: str
    port: int
    authority: str
    path: str


@functools.lru_cache(maxsize=1024)
def parse_target(url: str) -> Target:
    """Take apart an http or https address of printable ASCII.

    Raises:
        ValueError: another scheme, no host or an impossible one, a port out of range, or a user name in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a webhook address is http:// or https:// and names a host")
    if "@" in parts.netloc:
        raise ValueError("a webhook address carries no user name")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("a webhook address is printable ASCII without spaces")
    parts.hostname.encode("idna")  # refuses empty and overlong labels, which the resolver would choke on
    tls = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if tls else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(tls, parts.hostname, port, parts.netloc, path)
