"""The payment simulator's store: one thread, one transaction for many jobs, and each job whole or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doorbuster.lab.payment_simulator import counters
from doorbuster.lab.payment_simulator.errors import InvalidCursorError, OverloadedError, StorageFailedError
from doorbuster.lab.payment_simulator.schema import open_database
from doorbuster.lab.payment_simulator.writer import WAITING_MAX, Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    opened = Writer(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def add_one(store: sqlite3.Connection) -> None:
    counters.add(store, "jobs")


def add_one_and_refuse(store: sqlite3.Connection) -> None:
    counters.add(store, "jobs")
    raise InvalidCursorError


def write_nonsense(store: sqlite3.Connection) -> None:
    counters.add(store, "jobs")
    store.execute("INSERT INTO statement (kind) VALUES ('gift')")


async def test_a_refused_job_leaves_nothing_and_spoils_none_of_its_batch(writer: Writer) -> None:
    jobs = [add_one, add_one_and_refuse, write_nonsense, add_one] * 50
    ends = await asyncio.gather(*(writer.run(job) for job in jobs), return_exceptions=True)
    assert [type(end) for end in ends[:4]] == [type(None), InvalidCursorError, StorageFailedError, type(None)]
    assert await writer.run(counters.read_all) == {"jobs": 100}


async def test_a_result_is_durable_before_it_is_told(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "store.sqlite")
    await asyncio.gather(*(writer.run(add_one) for _ in range(300)))
    for suffix in ("", "-wal"):  # what a crash at this moment would leave
        (tmp_path / f"copy.sqlite{suffix}").write_bytes((tmp_path / f"store.sqlite{suffix}").read_bytes())
    writer.close()
    copy = open_database(tmp_path / "copy.sqlite")
    assert counters.read_all(copy) == {"jobs": 300}
    copy.close()


async def test_jobs_that_wait_are_bounded(writer: Writer) -> None:
    waiting = [asyncio.ensure_future(writer.run(add_one)) for _ in range(WAITING_MAX + 10)]
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(end, OverloadedError) for end in ends) == 10
    assert await writer.run(counters.read_all) == {"jobs": WAITING_MAX}


async def test_a_cancelled_caller_does_not_stop_the_others(writer: Writer) -> None:
    cancelled = asyncio.ensure_future(writer.run(add_one))
    await asyncio.sleep(0)
    cancelled.cancel()
    await writer.run(add_one)
    assert await writer.run(counters.read_all) == {"jobs": 2}


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    later = sqlite3.connect(tmp_path / "later.sqlite")
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(sqlite3.DatabaseError, match="schema 99"):
        open_database(tmp_path / "later.sqlite")


@pytest.mark.parametrize(
    "forbidden",
    [
        "INSERT INTO statement (kind, payment_id, order_id, amount, currency, at_ms)"
        " VALUES ('capture', '1', 'o', 5, 'CNY', 0)",
        "UPDATE intents SET captured = 6",
        "UPDATE intents SET refunded = 6",
        "UPDATE intents SET status = 'cancelled'",
        "UPDATE intents SET refunded = 5",
    ],
)
def test_the_database_itself_refuses_money_that_does_not_add_up(tmp_path: Path, forbidden: str) -> None:
    store = open_database(tmp_path / "store.sqlite")
    store.execute(
        "INSERT INTO intents (id, reference, status, order_id, amount, currency, captured, refunded, webhook_url, "
        "declines) VALUES ('1', 'r', 'captured', 'o', 5, 'CNY', 5, 0, 'http://x', 0)"
    )
    store.execute(
        "INSERT INTO statement (kind, payment_id, order_id, amount, currency, at_ms)"
        " VALUES ('capture', '1', 'o', 5, 'CNY', 0)"
    )
    with pytest.raises(sqlite3.IntegrityError):
        store.execute(forbidden)
    store.close()
