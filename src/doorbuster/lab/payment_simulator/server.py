"""The process: store, deliverer and HTTP server, from the ready line to a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server

from doorbuster.lab.payment_simulator.app import PaymentSimulator
from doorbuster.lab.payment_simulator.deliverer import Deliverer
from doorbuster.lab.payment_simulator.exchange import HANG_UP
from doorbuster.lab.payment_simulator.misbehaviour import Dice
from doorbuster.lab.payment_simulator.options import Options
from doorbuster.lab.payment_simulator.provider import Provider
from doorbuster.lab.payment_simulator.stored import Protocol
from doorbuster.lab.payment_simulator.writer import Writer
from doorbuster.platform.http.server import bind

CONNECTIONS_MAX = 4096
GRACE_S = 3


class HangUpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a way for the application to end the connection without an answer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope.setdefault("state", {})[HANG_UP] = self.transport.close


class EmbeddedServer(Server):
    """uvicorn's server without its signal handling: ending well is this process's own business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


async def serve(options: Options) -> None:
    """Run until SIGTERM, SIGINT or, if asked for, the end of stdin.

    Raises:
        OSError: the address cannot be bound.
        sqlite3.Error: the data file cannot be used.
    """
    listener = bind(options.host, options.port)
    writer = Writer(options.data)
    try:
        await _serve_with(options, listener, writer)
    finally:
        writer.close()
        listener.close()


async def _serve_with(options: Options, listener: socket.socket, writer: Writer) -> None:
    secrets: dict[Protocol, tuple[bytes, ...]] = {"simulator": options.secrets, "stripe": options.stripe_secrets}
    deliverer = Deliverer(writer, secrets, options.policy, now_ms, options.seed)
    base_url = options.public_url or _base_url(options.host, listener)
    dice = Dice(options.seed, options.misbehaviour)
    provider = Provider(writer, deliverer, dice, base_url, now_ms, options.endpoint)
    app = PaymentSimulator(provider, controllable=options.controllable, stripe_key=options.stripe_key)
    server = EmbeddedServer(_config(app))
    _stop_on_request(server, end_with_stdin=options.end_with_stdin)
    async with asyncio.TaskGroup() as group:  # a deliverer that breaks ends the process loudly
        delivering = group.create_task(deliverer.run())
        _announce(_base_url(options.host, listener))
        await server.serve(sockets=[listener])
        deliverer.stop()
        await asyncio.wait({delivering}, timeout=GRACE_S)
        delivering.cancel()


def _base_url(host: str, listener: socket.socket) -> str:
    port: int = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config(app: PaymentSimulator) -> Config:
    return Config(
        app,
        http=HangUpProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
    )


def _stop_on_request(server: Server, *, end_with_stdin: bool) -> None:
    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if end_with_stdin:
        threading.Thread(target=_await_end_of_stdin, args=(loop, stop), daemon=True).start()


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    while os.read(0, 4096):  # ends when every writer has closed its end
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed already: the process ends anyway
        loop.call_soon_threadsafe(stop)


def _announce(base_url: str) -> None:
    line = msgspec.json.encode({"base_url": base_url, "pid": os.getpid()})
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()
