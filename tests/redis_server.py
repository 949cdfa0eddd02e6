"""The Redis of the tests: the server at DOORBUSTER_TEST_REDIS, else one of our own. Never skipped: no server is an
error."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time

GIVEN = "DOORBUSTER_TEST_REDIS"
PATIENCE_S = 20


class RedisServer:
    def __init__(self, url: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self.url, self._process = url, process

    def stop(self) -> None:
        """Killed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: int) -> None:
        """SIGSTOP and SIGCONT. Only for a server of our own."""
        assert self._process is not None
        self._process.send_signal(number)


def start_redis(*, own: bool = False, port: int = 0) -> RedisServer:
    """`own`: never the one at a given address; `port`: where a killed one was.

    Raises FileNotFoundError, TimeoutError.
    """
    given = os.environ.get(GIVEN)
    if given and not own:
        return RedisServer(given)
    binary = shutil.which("redis-server")
    if binary is None:
        raise FileNotFoundError("redis-server is not installed; the tests need one")
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    words = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return RedisServer(f"redis://127.0.0.1:{port}/0", process)
        except OSError:
            time.sleep(0.02)
    process.kill()
    raise TimeoutError("redis-server does not start")
