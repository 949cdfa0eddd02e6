"""A relay that is killed, as by a power cut, at its named crash points: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doorbuster.platform.bus.consumer import position_of
from doorbuster.platform.bus.outbox import START
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.sqlite import SqliteDatabase

from . import ledger
from .ledger import Books, deposits, entered, tell

SCRIPT = Path(__file__).with_name("relaying.py")


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Database]:
    """With 35 deposits told to them that nobody has carried yet."""
    bank, books = (SqliteDatabase(name, tmp_path / f"{name}.sqlite") for name in ("bank", "books"))
    for database in (bank, books):
        await database.write(ledger.create)
    await tell(bank, deposits(35), per_transaction=8)
    await bank.close()
    yield books
    await books.close()


async def relay(folder: Path, crash_at: str = "") -> int:
    """How the process ended."""
    environment = {**os.environ, "DOORBUSTER_CRASH_AT": crash_at}
    process = await asyncio.create_subprocess_exec(sys.executable, SCRIPT, folder, env=environment)
    async with asyncio.timeout(60):
        return await process.wait()


@pytest.mark.parametrize(
    ("crash_at", "survived"),
    [
        ("relay.read-not-applied", 0),
        ("relay.read-not-applied:3", 20),
        ("relay.applied", 10),
        ("relay.applied:4", 35),
    ],
)
async def test_killed_at_a_crash_point_it_goes_on_where_it_was(
    books: Database, tmp_path: Path, crash_at: str, survived: int
):
    assert await relay(tmp_path, crash_at) == -signal.SIGKILL
    assert await entered(books) == list(range(survived))
    position = await books.read(lambda tx: position_of(tx, Books().consumer))
    assert (position == START) == (survived == 0)
    assert await relay(tmp_path) == 0
    assert await entered(books) == list(range(35))


async def test_killed_again_and_again_it_arrives_all_the_same(books: Database, tmp_path: Path):
    ends = [await relay(tmp_path, "relay.applied") for _ in range(4)]
    assert ends == [-signal.SIGKILL] * 4
    assert await entered(books) == list(range(35))
    assert await relay(tmp_path, "relay.applied") == 0, "nothing was left to carry"
    assert await entered(books) == list(range(35))
