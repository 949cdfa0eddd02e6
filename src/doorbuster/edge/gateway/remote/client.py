"""Connections to other servers, kept and shared by all pipelines; opened when first needed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any

from doorbuster.platform.http.problems import UpstreamUnavailable

if TYPE_CHECKING:
    import aiohttp

IDLE_S_MAX = 15.0
"""Shorter than servers keep connections, so that a request rarely meets one that is just being closed."""
READ_BYTES = 64 * 1024
"""What is read ahead of a client who takes it slowly."""
HEAD_BYTES_MAX = 16 * 1024


class RemoteClient:
    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._under_way: Counter[str] = Counter()
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def session(self) -> aiohttp.ClientSession:
        """No cookies, no redirects, no proxies of the environment, no repeats: what comes is passed on as it is."""
        if self._session is None:
            import aiohttp  # only here: most shops have one process

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S_MAX, ttl_dns_cache=10),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                requote_redirect_url=False,
                read_bufsize=READ_BYTES,
                max_line_size=HEAD_BYTES_MAX,
                max_field_size=HEAD_BYTES_MAX,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                timeout=aiohttp.ClientTimeout(total=None, sock_read=None),
            )
            # It would repeat a PUT whose body has been read already; what may be repeated is decided in `http`.
            self._session._retry_connection = False  # type: ignore[reportPrivateUsage]  # there is no other way
        return self._session

    @property
    def under_way(self) -> int:
        """Requests, streams and sockets to other servers."""
        return sum(self._under_way.values())

    @property
    def beside(self) -> int:
        """Copies under way that nobody waits for."""
        return len(self._beside)

    @contextmanager
    def place(self, address: str, places: int) -> Generator[None]:
        """One of so many to this address. Raises UpstreamUnavailable."""
        if self._under_way[address] >= places:
            raise UpstreamUnavailable("too many requests to the servers behind this address are under way")
        self._under_way[address] += 1
        try:
            yield
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` beside all requests, until it ends or the gateway does. It must raise nothing."""
        task = asyncio.create_task(work, name="gateway-copy", context=Context())
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def close(self) -> None:
        for task in list(self._beside):
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
