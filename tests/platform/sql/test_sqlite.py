"""What only SQLite can do to a transaction: another process's lock on the file, a full disk, a killed writer."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from doorbuster.kernel.errors import OutcomeUnknown, Overloaded, Unavailable
from doorbuster.platform.sql import sqlite as module
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.sql.sqlite import SqliteDatabase

from ..gate import Gate
from . import counters


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase("books", tmp_path / "books.sqlite")
    await database.write(counters.create)
    yield database
    await database.close()


class Holder:
    """Another process that holds the write lock."""

    def __init__(self, file: Path, how: str) -> None:
        script = Path(__file__).with_name("holding_the_lock.py")
        self.process = subprocess.Popen(
            [sys.executable, script, file, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def let_go(self) -> None:
        if self.process.returncode is None:
            self.process.communicate("\n", timeout=20)


@pytest.fixture
def committing(database: SqliteDatabase) -> Iterator[Holder]:
    holder = Holder(database.path, "commit")
    yield holder
    holder.let_go()


@pytest.fixture
def dying(database: SqliteDatabase) -> Iterator[Holder]:
    holder = Holder(database.path, "die")
    yield holder
    holder.process.kill()
    holder.process.communicate()


async def test_a_new_file_that_another_process_is_writing_is_waited_for(tmp_path: Path):
    """It still has a rollback journal, and SQLite calls no busy handler while the mode changes."""
    file = tmp_path / "new.sqlite"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("CREATE TABLE theirs (n INT)")
    other.execute("BEGIN IMMEDIATE")
    database = SqliteDatabase("new", file)
    opening = asyncio.create_task(database.read(lambda tx: tx.rows("PRAGMA journal_mode")[0][0]))
    done, _ = await asyncio.wait([opening], timeout=0.05)
    assert not done
    other.execute("ROLLBACK")
    assert await opening == "wal"
    await database.close()
    other.close()


async def test_a_write_waits_for_the_other_process(database: SqliteDatabase, committing: Holder):
    writing = asyncio.create_task(database.write(lambda tx: counters.put(tx, "ours")))
    done, _ = await asyncio.wait([writing], timeout=0.05)
    assert not done
    assert await database.read(counters.everything) == {}, "readers do not wait"
    committing.let_go()
    await writing
    assert await database.read(counters.everything) == {"theirs": 0, "ours": 0}


async def test_a_write_that_waited_too_long_did_nothing(
    database: SqliteDatabase, committing: Holder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    impatient = SqliteDatabase("books", database.path)
    started_s = time.monotonic()
    with pytest.raises(Unavailable, match="the books database is not available"):
        await impatient.write(lambda tx: counters.put(tx, "ours"))
    assert time.monotonic() - started_s > 0.04
    committing.let_go()
    await impatient.write(lambda tx: counters.put(tx, "later"))
    await impatient.close()
    assert await database.read(counters.everything) == {"theirs": 0, "later": 0}


async def test_a_process_killed_before_its_commit_leaves_neither_rows_nor_locks(
    database: SqliteDatabase, dying: Holder
):
    writing = asyncio.create_task(database.write(lambda tx: counters.put(tx, "ours")))
    dying.let_go()
    await writing
    assert dying.process.returncode == -9
    assert await database.read(counters.everything) == {"ours": 0}


async def test_a_commit_is_on_the_disk_before_it_answers(database: SqliteDatabase):
    def pragmas(tx: Tx) -> list[object]:
        return [tx.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]

    full = 2
    assert await database.write(pragmas) == ["wal", full, 1]
    assert await database.read(pragmas) == ["wal", full, 1]


async def test_a_full_disk_is_unavailable_and_nothing_is_written(database: SqliteDatabase):
    def fill(tx: Tx) -> None:
        counters.put(tx, "too much")
        tx.run_many("INSERT INTO counters (name, value) VALUES (?, 0)", [(f"{n:01000}",) for n in range(1000)])

    pages = (await database.write(lambda tx: tx.rows("PRAGMA page_count")))[0][0]
    await database.write(lambda tx: tx.rows(f"PRAGMA max_page_count = {pages + 10}"))
    with pytest.raises(Unavailable) as raised:
        await database.write(fill)
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    assert await database.read(counters.everything) == {}
    await database.write(lambda tx: tx.rows("PRAGMA max_page_count = 1000000"))
    await database.write(fill)
    assert len(await database.read(counters.everything)) == 1001


async def test_a_disk_that_fills_up_in_a_shared_commit_leaves_what_was_acknowledged_and_no_more(
    database: SqliteDatabase,
):
    def fill(tx: Tx) -> None:
        tx.run_many("INSERT INTO counters (name, value) VALUES (?, 0)", [(f"{n:01000}",) for n in range(1000)])

    pages = (await database.write(lambda tx: tx.rows("PRAGMA page_count")))[0][0]
    await database.write(lambda tx: tx.rows(f"PRAGMA max_page_count = {pages + 10}"))
    works = [lambda tx, n=n: counters.put(tx, f"{n}") for n in range(10)]
    told = await asyncio.gather(*(database.write(work) for work in [*works, fill, *works]), return_exceptions=True)
    told_good = {f"{n % 11}" for n, answer in enumerate(told) if answer is None}
    assert isinstance(told[10], Unavailable)
    assert set(await database.read(counters.everything)) == told_good
    await database.write(lambda tx: counters.put(tx, "after"))


@contextmanager
def files_end_at(bytes_max: int) -> Iterator[None]:
    """No file of this process may be written beyond: the system answers EFBIG, an I/O error to SQLite."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


async def test_an_io_error_during_commit_is_an_unknown_outcome(database: SqliteDatabase):
    def fill(tx: Tx) -> None:
        tx.run_many("INSERT INTO counters (name, value) VALUES (?, 0)", [(f"{n:01000}",) for n in range(1000)])

    with files_end_at(100_000), pytest.raises(OutcomeUnknown):
        await database.write(fill)
    assert len(await database.read(counters.everything)) in (0, 1000)
    await database.write(lambda tx: counters.put(tx, "after"))


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path):
    nowhere = SqliteDatabase("books", tmp_path / "no such folder" / "books.sqlite")
    for ask in (nowhere.read, nowhere.write):
        with pytest.raises(Unavailable):
            await ask(counters.everything)
    await nowhere.close()


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_one_more_than_may_wait_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    database = SqliteDatabase("books", tmp_path / "books.sqlite", readers=1)
    await database.write(counters.create)
    ask, gate = getattr(database, kind), Gate()
    held = [asyncio.create_task(ask(gate.hold))]
    await gate.entered()
    waiting = 3 if kind == "write" else 2  # a read counts from its beginning, a write until its commit
    held += [asyncio.create_task(ask(lambda _: None)) for _ in range(waiting)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await ask(lambda _: None)
    gate.open()
    await asyncio.gather(*held)
    await ask(lambda _: None)
    await database.close()


async def test_who_goes_away_while_waiting_for_a_reader_is_not_read_for(tmp_path: Path):
    database, gate, read = SqliteDatabase("books", tmp_path / "books.sqlite", readers=1), Gate(), []
    holding = asyncio.create_task(database.read(gate.hold))
    await gate.entered()
    waiting = [asyncio.create_task(database.read(lambda _, n=n: read.append(n))) for n in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(holding, waiting[0], waiting[2])
    assert read == [0, 2]
    await database.close()


async def test_writes_of_one_process_happen_in_order_of_arrival(database: SqliteDatabase):
    order: list[int] = []
    await asyncio.gather(*(database.write(lambda tx, n=n: order.append(n)) for n in range(50)))
    assert order == list(range(50))
