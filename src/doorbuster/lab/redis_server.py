"""A Redis to test and measure on: the server at a given address, or one found on the machine, which keeps nothing."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence

PATIENCE_S = 20.0


class NoRedis(Exception):
    """There is no Redis to be found here, or the one that was found does not start."""


class RedisServer:
    """A running server, database 0 of it."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self.url, self._process = url, process

    @property
    def pid(self) -> int:
        """Of one that was started here."""
        assert self._process is not None, "this server is somebody else's"
        return self._process.pid

    @classmethod
    def start(cls, given: str | None = None, port: int | None = None, more: Sequence[str] = ()) -> RedisServer:
        """The server at the address `given`, else one of our own, on `port` or a free one, with `more` options.

        Raises NoRedis.
        """
        if given:
            return cls(given)
        binary = shutil.which("redis-server")
        if binary is None:
            raise NoRedis("no redis-server is installed here")
        port = port or free_port()
        words = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *more]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_s and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return cls(f"redis://127.0.0.1:{port}/0", process)
            except OSError:
                time.sleep(0.02)
        process.kill()
        process.wait()
        raise NoRedis("redis-server does not start")

    def stop(self) -> None:
        """Ends a server that was started here."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
