"""Migrations, one history per context, written with Alembic's operations.

A context's `migrations/` holds files named `NNNN_what.py` with `revision = "NNNN"`; the newest file is the head.
Comparing revisions needs no Alembic, so a start on an up-to-date database does not import it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import sqlalchemy as sa
from msgspec import Struct

from doorbuster.platform.sql.database import Database, Tx


class History(Struct, frozen=True):
    """The migrations of one context."""

    package: str

    def revisions(self) -> list[str]:
        """Names of the migration modules, oldest first."""
        location = importlib.import_module(self.package).__file__
        assert location is not None
        return sorted(path.stem for path in Path(location).parent.glob("[0-9]*.py"))


class NewerSchema(Exception):
    """The database was migrated by a newer version of the shop than this one."""


_version = sa.Table(
    "schema_version",
    sa.MetaData(),
    sa.Column("revision", sa.Text, primary_key=True),
    sa.Column("at_ms", sa.BigInteger),
)


async def pending(database: Database, history: History) -> list[str]:
    """Migrations that are not applied yet, oldest first. Raises NewerSchema."""
    applied = await database.read(_applied)
    known = history.revisions()
    unknown = applied - set(known)
    if unknown:
        raise NewerSchema(f"{database.name} has migrations that this version does not know: {sorted(unknown)}")
    return [revision for revision in known if revision not in applied]


async def migrate(database: Database, history: History, now_ms: int) -> list[str]:
    """Applies what is pending, each migration in one transaction. Returns their names.

    Two processes may start at once: on PostgreSQL they take turns by an advisory lock, on SQLite by the file's.
    """
    done: list[str] = []
    if not await pending(database, history):
        return done
    for revision in history.revisions():
        module = importlib.import_module(f"{history.package}.{revision}")
        if await database.write(lambda tx, module=module, name=revision: _apply(tx, module, name, now_ms)):
            done.append(revision)
    return done


def _apply(tx: Tx, module: ModuleType, revision: str, now_ms: int) -> bool:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    _lock(tx)
    _version.create(tx.connection, checkfirst=True)
    if revision in _applied(tx):
        return False
    with Operations.context(MigrationContext.configure(tx.connection)):
        module.upgrade()
    tx.execute(sa.insert(_version).values(revision=revision, at_ms=now_ms))
    return True


def _lock(tx: Tx) -> None:
    if tx.dialect == "postgres":
        tx.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('doorbuster-migrate-' || current_schema()))"))


def _applied(tx: Tx) -> set[str]:
    if not sa.inspect(tx.connection).has_table(_version.name):
        return set()
    return set(tx.execute(sa.select(_version.c.revision)).scalars())
