"""Opens the databases of the contexts as the settings say: SQLite files in the data folder, or one PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import exc

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.settings.tree import DatabaseSettings, WrongSetting
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.sqlite import SqliteDatabase

_POSTGRES = re.compile(r"postgres(ql)?://")


async def open_databases(settings: DatabaseSettings, folder: Path, names: list[str]) -> Mapping[str, Database]:
    """One database per name. Raises WrongSetting, Unavailable, NotDurable."""
    if not settings.url:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at the start
        return {name: SqliteDatabase(name, folder / f"{name}.sqlite") for name in names}
    if not _POSTGRES.match(settings.url):
        raise WrongSetting("database.url", "must be empty (SQLite) or start with postgresql://")
    # Only here: asyncpg and its dialect cost a process without PostgreSQL 10 MB.
    from doorbuster.platform.sql.postgres import PostgresDatabase

    await _prepare_postgres(settings, _url_of(settings), names)
    return {name: PostgresDatabase(name, settings.url, settings.pool_size) for name in names}


def _url_of(settings: DatabaseSettings) -> sa.URL:
    try:
        return sa.make_url(settings.url).set(drivername="postgresql")
    except (exc.ArgumentError, ValueError):
        raise WrongSetting("database.url", "is not an address") from None  # the cause may quote the password


class NotDurable(Exception):
    """This PostgreSQL may lose what it has acknowledged."""


async def _prepare_postgres(settings: DatabaseSettings, url: sa.URL, schemas: list[str]) -> None:
    """Checks that a commit is durable and creates the schemas."""
    import asyncpg

    from doorbuster.platform.sql.postgres import CONNECT_TIMEOUT_S

    try:
        connection = await cast(Any, asyncpg).connect(
            url.render_as_string(hide_password=False), timeout=CONNECT_TIMEOUT_S
        )
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise Unavailable(f"cannot connect to the database of database.url: {error}") from error
    try:
        if not settings.allow_volatile:
            await _refuse_volatile(connection)
        for schema in schemas:
            # Two processes may start at once; CREATE SCHEMA IF NOT EXISTS alone can still collide.
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext('doorbuster-schemas'))")
                await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    finally:
        await connection.close()


async def _refuse_volatile(connection: Any) -> None:
    for name, durable in (
        ("fsync", {"on"}),
        ("synchronous_commit", {"on", "local", "remote_apply", "remote_write"}),
    ):
        value = await connection.fetchval(f"SHOW {name}")
        if value not in durable:
            raise NotDurable(
                f"PostgreSQL has {name}={value}: an acknowledged order could be lost in a crash. "
                "Set it to on, or start with database.allow_volatile=true if you accept that."
            )
