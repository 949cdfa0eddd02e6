"""Where requests go: a checked http base URL."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from .errors import BadUrlError


class Target(msgspec.Struct, frozen=True):
    """A parsed base URL; `prefix` is its path without a trailing slash, `host_header` as HTTP wants it."""

    host: str
    port: int
    prefix: str
    host_header: str


def parse_target(base_url: str) -> Target:
    """The target of an http URL. Raises `BadUrlError` for what the client cannot honour, https included."""
    if not base_url.isascii() or any(c.isspace() or not c.isprintable() for c in base_url):
        raise BadUrlError(base_url, "only visible ASCII characters are allowed")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise BadUrlError(base_url, str(error)) from error
    if parts.scheme == "https":
        raise BadUrlError(base_url, "https is not supported; put the generator behind the TLS terminator")
    if parts.scheme != "http":
        raise BadUrlError(base_url, "must start with http://")
    if not parts.hostname:
        raise BadUrlError(base_url, "no host")
    if parts.username is not None or parts.password is not None:
        raise BadUrlError(base_url, "credentials in the URL are not supported")
    if parts.query or parts.fragment:
        raise BadUrlError(base_url, "a base URL has no query and no fragment")
    if port == 0:
        raise BadUrlError(base_url, "port 0 cannot be called")
    return Target(parts.hostname, port or 80, parts.path.rstrip("/"), parts.netloc)
