"""Addresses: one server's, and a cluster's, which names one or more of its nodes.

redis+cluster://user:password@first:7000,second:7000?ssl_cert_reqs=none
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from msgspec import Struct

CLUSTER = "+cluster://"


class ClusterAddress(Struct, frozen=True):
    """`seeds` are host:port; what is around them is the same for all nodes."""

    before: str
    seeds: Sequence[str]
    after: str

    @classmethod
    def of(cls, url: str) -> ClusterAddress:
        """Raises ValueError."""
        parts = urlsplit(url.replace(CLUSTER, "://", 1))
        if parts.path not in ("", "/", "/0"):
            raise ValueError("a Redis Cluster has one database, 0")
        who, at, hosts = parts.netloc.rpartition("@")
        seeds = [place_of(host) for host in hosts.split(",")]
        return cls(f"{parts.scheme}://{who}{at}", seeds, f"?{parts.query}" if parts.query else "")

    def url_of(self, place: str) -> str:
        return f"{self.before}{place}/0{self.after}"


def place_of(netloc: str) -> str:
    """With the usual port if there is none. Raises ValueError."""
    parts = urlsplit(f"//{netloc}")
    if not parts.hostname:
        raise ValueError("the address of a Redis Cluster has no host, or an empty one")
    return named(parts.hostname, parts.port or 6379)


def named(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(place: str) -> str:
    return urlsplit(f"//{place}").hostname or ""
