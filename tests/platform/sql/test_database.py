"""What both databases promise about transactions. Whatever is here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from doorbuster.kernel.errors import Busy, ShopError
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.errors import RowRejected

from ..conftest import Until
from ..gate import Gate
from . import counters

OUT_OF_RANGE = 2**63


class Changed(Exception):
    """Raised by a transaction's own work."""


async def test_a_write_is_committed_when_it_answers(database: Database):
    def work(tx: Tx) -> str:
        counters.put(tx, "a", 1)
        counters.add(tx, "a", 2)
        return "done"

    assert await database.write(work) == "done"
    assert await database.read(counters.everything) == {"a": 3}


@pytest.mark.parametrize("error", [Changed(), Busy(), KeyError("x")], ids=repr)
async def test_what_work_raises_comes_out_as_it_is_and_nothing_is_written(database: Database, error: Exception):
    def work(tx: Tx) -> None:
        counters.put(tx, "a")
        raise error

    with pytest.raises(type(error)) as raised:
        await database.write(work)
    assert raised.value is error
    assert await database.read(counters.everything) == {}


def refused_statements() -> dict[str, Callable[[Tx], object]]:
    table = counters.counters
    native = "INSERT INTO counters (name, value) VALUES ({}, {})"

    def places(tx: Tx) -> str:
        return native.format(*(("?", "?") if tx.dialect == "sqlite" else ("$1", "$2")))

    return {
        "check": lambda tx: counters.add(tx, "kept", -1),
        "unique": lambda tx: counters.put(tx, "kept"),
        "null": lambda tx: tx.execute(sa.insert(table).values(name="b", value=None)),
        "too large": lambda tx: counters.put(tx, "b", OUT_OF_RANGE),
        "too small": lambda tx: counters.put(tx, "b", -OUT_OF_RANGE - 1),
        "check, many": lambda tx: tx.execute(sa.insert(table), [{"name": n, "value": -1} for n in "xyz"]),
        "unique, native": lambda tx: tx.rows(places(tx), "kept", 1),
        "too large, native": lambda tx: tx.rows(places(tx), "b", OUT_OF_RANGE),
        "check, native, many": lambda tx: tx.run_many(places(tx), [("b", 1), ("c", -1)]),
    }


@pytest.mark.parametrize("case", refused_statements())
async def test_what_a_constraint_refuses_is_called_so_and_nothing_is_written(database: Database, case: str):
    await database.write(lambda tx: counters.put(tx, "kept"))

    def work(tx: Tx) -> None:
        counters.put(tx, "before")
        refused_statements()[case](tx)

    with pytest.raises(RowRejected) as refused:
        await database.write(work)
    assert "kept" not in str(refused.value) and "INSERT" not in str(refused.value)
    assert await database.read(counters.everything) == {"kept": 0}
    await database.write(lambda tx: counters.put(tx, "after"))


async def test_a_mistake_in_a_statement_is_not_called_an_outage(database: Database):
    """Whoever is told Unavailable tries again, for ever."""
    for mistake in ("SELECT * FROM no_such_table", "SELEKT 1", "SELECT no_such_column FROM counters"):
        for ask in (lambda tx, sql=mistake: tx.execute(sa.text(sql)), lambda tx, sql=mistake: tx.rows(sql)):
            with pytest.raises(Exception) as raised:
                await database.write(ask)
            assert not isinstance(raised.value, ShopError)
    await database.write(lambda tx: counters.put(tx, "after"))


async def test_a_read_sees_one_snapshot(database: Database):
    await database.write(lambda tx: counters.put(tx, "a"))
    gate = Gate()

    def look_twice(tx: Tx) -> tuple[int | None, int | None]:
        before = counters.value(tx, "a")
        gate.hold(tx)
        return before, counters.value(tx, "a")

    reading = asyncio.create_task(database.read(look_twice))
    await gate.entered()
    await database.write(lambda tx: counters.add(tx, "a"))
    gate.open()
    assert await reading == (0, 0)
    assert await database.read(lambda tx: counters.value(tx, "a")) == 1


async def test_a_read_does_not_see_what_is_not_committed(database: Database):
    gate = Gate()

    def work(tx: Tx) -> None:
        counters.put(tx, "a")
        gate.hold(tx)

    writing = asyncio.create_task(database.write(work))
    await gate.entered()
    assert await database.read(counters.everything) == {}
    gate.open()
    await writing
    assert await database.read(counters.everything) == {"a": 0}


async def test_a_read_cannot_write(database: Database):
    with pytest.raises(Exception, match=r"read.?only") as raised:
        await database.read(lambda tx: counters.put(tx, "a"))
    assert not isinstance(raised.value, Busy)
    assert await database.read(counters.everything) == {}
    await database.write(lambda tx: counters.put(tx, "b"))


async def test_a_caller_who_goes_away_in_the_middle_leaves_it_carried_through(database: Database, until: Until):
    for round_ in range(7):  # more than there are connections
        gate, name = Gate(), f"round {round_}"

        def work(tx: Tx, gate: Gate = gate, name: str = name) -> None:
            counters.put(tx, name)
            gate.hold(tx)

        writing = asyncio.create_task(database.write(work))
        await gate.entered()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        gate.open()
        await until(lambda name=name: database.read(lambda tx: counters.value(tx, name) == 0))
    await database.write(lambda tx: counters.put(tx, "after"))
    assert len(await database.read(counters.everything)) == 8


async def test_a_failure_after_its_caller_went_away_leaves_the_connection_clean(database: Database, until: Until):
    gates = [Gate() for _ in range(7)]

    def failing(gate: Gate) -> Callable[[Tx], None]:
        def work(tx: Tx) -> None:
            counters.put(tx, "never")
            gate.hold(tx)
            raise Changed

        return work

    for gate in gates:
        writing = asyncio.create_task(database.write(failing(gate)))
        await gate.entered()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        gate.open()
    await database.write(lambda tx: counters.put(tx, "after"))
    assert await database.read(counters.everything) == {"after": 0}


async def test_closing_waits_for_what_was_begun(database: Database):
    gate = Gate()

    def work(tx: Tx) -> None:
        counters.put(tx, "a")
        gate.hold(tx)

    writing = asyncio.create_task(database.write(work))
    await gate.entered()
    closing = asyncio.create_task(database.close())
    gate.open()
    await asyncio.gather(writing, closing)


async def test_many_writers_keep_a_counter_exact(database: Database):
    await database.write(lambda tx: counters.put(tx, "a"))
    results = await asyncio.gather(*(database.write(lambda tx: counters.add(tx, "a")) for _ in range(200)))
    assert results == [None] * 200
    assert await database.read(counters.everything) == {"a": 200}


async def test_of_many_at_once_each_fails_for_itself(database: Database):
    """On SQLite those who come together share a commit."""
    refused = Busy("no more of these")

    def write(number: int) -> Callable[[Tx], int]:
        def work(tx: Tx) -> int:
            counters.put(tx, f"{number}")
            if number % 5 == 1:
                raise Changed
            if number % 5 == 2:
                counters.put(tx, f"{number}, negative", -1)
            if number % 5 == 3:
                raise refused
            counters.put(tx, f"{number}, second")
            return number

        return work

    answers = await asyncio.gather(*(database.write(write(n)) for n in range(100)), return_exceptions=True)
    told = [answer if isinstance(answer, int) else type(answer) for answer in answers]
    assert told == [(n, Changed, RowRejected, Busy, n)[n % 5] for n in range(100)]
    good = [n for n in range(100) if n % 5 in (0, 4)]
    assert set(await database.read(counters.everything)) == {f"{n}{more}" for n in good for more in ("", ", second")}


async def test_what_is_written_is_seen_by_whoever_asks_after_the_answer(database: Database):
    async def write_then_read(number: int) -> None:
        await database.write(lambda tx: counters.put(tx, f"{number}"))
        assert await database.read(lambda tx: counters.value(tx, f"{number}")) == 0

    await asyncio.gather(*(write_then_read(n) for n in range(50)))


async def test_nothing_written_between_a_locked_read_and_its_write_is_lost(database: Database):
    await database.write(lambda tx: counters.put(tx, "a"))
    table = counters.counters

    def read_then_write(tx: Tx) -> int:
        held = tx.execute(sa.select(table.c.value).where(table.c.name == "a").with_for_update()).scalar_one()
        tx.execute(sa.update(table).where(table.c.name == "a").values(value=held + 1))
        return held

    seen = await asyncio.gather(*(database.write(read_then_write) for _ in range(60)))
    assert sorted(seen) == list(range(60))
    assert await database.read(counters.everything) == {"a": 60}


async def test_one_of_many_inserts_the_row_that_must_exist_once(database: Database):
    def insert(number: int) -> Callable[[Tx], bool]:
        return lambda tx: tx.insert_if_absent(counters.counters, {"name": "a", "value": number})

    inserted = await asyncio.gather(*(database.write(insert(number)) for number in range(20)))
    assert inserted.count(True) == 1
    assert await database.read(counters.everything) == {"a": inserted.index(True)}


async def test_rows_whose_keys_are_taken_are_left_as_they_are(database: Database):
    await database.write(lambda tx: counters.put(tx, "b", 7))
    rows = [{"name": name, "value": 1} for name in "abc"]
    await database.write(lambda tx: tx.insert_all_if_absent(counters.counters, rows))
    await database.write(lambda tx: tx.insert_all_if_absent(counters.counters, []))
    assert await database.read(counters.everything) == {"a": 1, "b": 7, "c": 1}


async def test_absent_is_about_keys_only(database: Database):
    with pytest.raises(RowRejected):
        await database.write(lambda tx: tx.insert_if_absent(counters.counters, {"name": "a", "value": -1}))
    assert await database.read(counters.everything) == {}
