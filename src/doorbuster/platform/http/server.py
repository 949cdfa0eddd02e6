"""uvicorn as we run it: uvloop, httptools, websockets, no access log, bounded."""

from __future__ import annotations

import functools
import socket
from typing import Any, cast

import uvicorn

from doorbuster.platform.http.bounded_http import ARRIVAL_S, BoundedHttp
from doorbuster.platform.http.bounded_ws import MESSAGE_BYTES_MAX, PING_EVERY_S, PONG_WITHIN_S, BoundedWebSocket

BACKLOG = 4096
KEEP_ALIVE_S = 30
GRACE_S = 10


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that the port is known (and taken) before the server starts. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def server_for(app: Any, arrival_s: float = ARRIVAL_S) -> uvicorn.Server:
    """A server whose signals are the caller's business. Run it with `serve(sockets=[bind(...)])`."""
    config = uvicorn.Config(
        app,
        loop="none",
        http=cast(Any, functools.partial(BoundedHttp, arrival_s=arrival_s)),
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
