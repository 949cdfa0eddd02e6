"""uvicorn as we run it: uvloop, httptools, websockets, no access log, bounded."""

from __future__ import annotations

import functools
import resource
import socket
from typing import Any, cast

import uvicorn

from doorbuster.platform.http.bounded_http import ARRIVAL_S, BoundedHttp
from doorbuster.platform.http.bounded_ws import MESSAGE_BYTES_MAX, PING_EVERY_S, PONG_WITHIN_S, BoundedWebSocket
from doorbuster.platform.http.gate import Gate

BACKLOG = 4096
KEEP_ALIVE_S = 30
GRACE_S = 10
CONNECTIONS_MAX = 8_192
FILES_KEPT = 256
"""File descriptors that are not for connections of clients: databases, pipes, other servers, the listening socket."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that the port is known (and taken) before the server starts. Raises OSError.

    It says that it is TCP: asyncio's own loop turns Nagle's algorithm off only where it is told so, and an answer whose
    head and body are two writes would wait for the client's delayed acknowledgement (40 ms).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def connections_within(wanted: int) -> int:
    """`wanted`, or as many as the system lets this process have; the process's own limit is raised where it may be.

    Without a bound that holds, the system refuses to accept, and clients wait for nobody.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + FILES_KEPT
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - FILES_KEPT))


def server_for(
    app: Any, arrival_s: float = ARRIVAL_S, connections_max: int = CONNECTIONS_MAX, gate: Gate | None = None
) -> uvicorn.Server:
    """A server whose signals are the caller's business. Run it with `serve(sockets=[bind(...)])`.

    One connection more than `connections_max` is answered 503 `connections-full` and closed; WebSockets count too.
    Whom `gate` does not admit is refused before the application sees them.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=cast(Any, functools.partial(BoundedHttp, arrival_s=arrival_s, connections_max=connections_max, gate=gate)),
        ws=BoundedWebSocket,
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",  # the rest is what strangers send
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config)
