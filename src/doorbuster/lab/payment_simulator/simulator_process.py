"""The simulator as a child process: started, killed and started again on the same data."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
from msgspec import Struct

from doorbuster.lab.payment_simulator.options import SECRET_ENV_DEFAULT, STRIPE_SECRET_ENV

READY_S_MAX = 15.0
STOP_S_MAX = 10.0
READY_BYTES_MAX = 4096


class SimulatorStartError(Exception):
    """The child ended, or said nothing within ``READY_S_MAX``; carries the end of its log."""


class _Ready(Struct, frozen=True):
    base_url: str
    pid: int


class SimulatorProcess:
    """Owns one child process. Not for use from several threads at once.

    ``data`` is the SQLite file; the child's stderr goes to the file beside it with the suffix ``.log``.
    ``secrets`` sign the webhooks (several during rotation) and travel by environment; ``stripe_secrets`` those of the
    payment intents protocol (none: the same). ``misbehaviour`` has
    the fields of ``misbehaviour.Misbehaviour``. ``port`` 0 lets the system choose; a restart keeps it.
    The child also ends when this process dies, however it dies.
    """

    def __init__(
        self,
        data: Path,
        *,
        secrets: Sequence[str],
        seed: int = 0,
        misbehaviour: Mapping[str, object] | None = None,
        port: int = 0,
        arguments: Sequence[str] = (),
        stripe_secrets: Sequence[str] = (),
    ) -> None:
        self._data = data
        self._secrets = tuple(secrets)
        self._seed = seed
        self._misbehaviour = dict(misbehaviour or {})
        self._port = port
        self._arguments = tuple(arguments)
        self._stripe_secrets = tuple(stripe_secrets)
        self._child: subprocess.Popen[bytes] | None = None
        self._base_url: str | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """Like ``http://127.0.0.1:40123``; known after the first start, the same after a restart.

        Raises:
            RuntimeError: never started.
        """
        if self._base_url is None:
            raise RuntimeError("the simulator was never started")
        return self._base_url

    @property
    def pid(self) -> int | None:
        """The child's process id, None when it does not run."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def log(self) -> Path:
        """Where the child's stderr goes."""
        return self._data.with_suffix(".log")

    def start(self) -> Self:
        """Start the child and wait until it is ready; does nothing when it runs.

        Raises:
            SimulatorStartError: it is not ready within ``READY_S_MAX``.
        """
        if self.pid is not None:
            return self
        if self._child is not None:  # it ended by itself
            self._reap(self._child)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={
                    **os.environ,
                    SECRET_ENV_DEFAULT: ",".join(self._secrets),
                    STRIPE_SECRET_ENV: ",".join(self._stripe_secrets),
                },
            )
        try:
            self._base_url = self._await_ready(self._child).base_url
        except SimulatorStartError:
            self.kill()
            raise
        self._port = int(self._base_url.rpartition(":")[2])
        return self

    def stop(self) -> int | None:
        """End gracefully (SIGTERM), by force after ``STOP_S_MAX``; the exit code, None when not started."""
        child = self._child
        if child is None:
            return None
        child.terminate()
        try:
            child.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
        return self._reap(child)

    def kill(self) -> None:
        """End at once (SIGKILL), as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._reap(self._child)

    def restart(self, *, secrets: Sequence[str] | None = None) -> Self:
        """Start again on the same data file and port, stopping first if need be; maybe with other secrets.

        Settings made through ``/control`` are gone, those given to the constructor hold again.
        """
        self.stop()
        if secrets is not None:
            self._secrets = tuple(secrets)
        return self.start()

    def _command(self) -> list[str]:
        pairs = [f"{name}={msgspec.json.encode(value).decode()}" for name, value in self._misbehaviour.items()]
        return [
            *(sys.executable, "-m", "doorbuster.lab.payment_simulator", "--end-with-stdin"),
            *("--data", str(self._data), "--port", str(self._port), "--seed", str(self._seed)),
            *("--secret-env", SECRET_ENV_DEFAULT, *self._arguments, "--misbehave", *pairs),
        ]

    def _await_ready(self, child: subprocess.Popen[bytes]) -> _Ready:
        assert child.stdout is not None, "it was opened as a pipe"
        line = _read_line(child.stdout, time.monotonic() + READY_S_MAX)
        try:
            return msgspec.json.decode(line, type=_Ready)
        except msgspec.DecodeError as error:
            raise SimulatorStartError(self._end_of_log() or "it said nothing") from error

    def _end_of_log(self) -> str:
        return self.log.read_bytes()[-2000:].decode(errors="replace").strip()

    def _reap(self, child: subprocess.Popen[bytes]) -> int:
        code = child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        self._child = None
        return code


def _read_line(pipe: IO[bytes], deadline_s: float) -> bytes:
    """What the child wrote up to the first line's end, its own end, or the deadline (monotonic seconds)."""
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < READY_BYTES_MAX:
            if not selector.select(max(0.0, deadline_s - time.monotonic())):
                return line
            chunk = os.read(pipe.fileno(), READY_BYTES_MAX)
            if not chunk:
                return line
            line += chunk
    return line
