"""What every lock promises, on every engine."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.locks import holding

from .conftest import LONG_MS, OpenLocks
from .late_writer import write

TRIES = 10
"""A machine that stands still for longer than a lease has lost it, rightly: a test of something else tries again."""


async def test_one_owner_at_a_time(open_locks: OpenLocks):
    first, second = await open_locks(), await open_locks()
    assert await first.take("shelf", "a")
    assert not await second.take("shelf", "b")
    assert not await first.take("shelf", "b")
    assert not await first.take("shelf", "a"), "not even the same owner again"
    assert await second.take("another shelf", "b")


async def test_only_the_owner_releases(open_locks: OpenLocks):
    first, second = await open_locks(), await open_locks()
    assert await first.take("shelf", "a")
    assert not await first.release("shelf", "b")
    assert not await second.release("shelf", "b")
    assert not await second.take("shelf", "b")
    assert await first.release("shelf", "a")
    assert not await first.release("shelf", "a")
    assert await second.take("shelf", "b")
    assert not await first.release("shelf", "a"), "it is another's now"
    assert not await first.take("shelf", "a")


async def test_only_the_owner_renews(open_locks: OpenLocks):
    first, second = await open_locks(), await open_locks()
    assert await first.take("shelf", "a")
    assert await first.renew("shelf", "a")
    assert not await first.renew("shelf", "b")
    assert not await second.renew("shelf", "b")
    assert not await first.renew("another shelf", "a")
    await first.release("shelf", "a")
    assert not await first.renew("shelf", "a")


async def test_tokens_rise_from_owner_to_owner(open_locks: OpenLocks):
    doors = [await open_locks() for _ in range(3)]
    tokens = []
    for at in range(12):
        door = doors[at % 3]
        tokens.append(await door.take("shelf", f"owner-{at}"))
        assert await door.release("shelf", f"owner-{at}")
    assert tokens == sorted(set(tokens))
    assert tokens[0] > 0


async def test_a_crowd_gets_it_one_after_another_each_with_a_higher_token(open_locks: OpenLocks):
    doors = [await open_locks() for _ in range(3)]
    inside, tokens = 0, []

    async def enter(at: int) -> None:
        nonlocal inside
        async with doors[at % 3].holding(["shelf"]) as held:
            inside += 1
            assert inside == 1
            tokens.append(held["shelf"])
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*[enter(at) for at in range(15)])
    assert len(tokens) == 15
    assert tokens == sorted(set(tokens))


async def test_an_owner_who_says_nothing_loses_it_after_the_lease(open_locks: OpenLocks, until):
    first, second = await open_locks(), await open_locks()
    asked_s = 0.0

    async def taken() -> int:
        nonlocal asked_s
        asked_s = time.monotonic()
        return await first.take("shelf", "a", 1000)

    before = await until(taken)
    after = await until(lambda: second.take("shelf", "b"))
    assert after > before
    assert time.monotonic() - asked_s >= 0.98, "not before its end"
    assert not await first.renew("shelf", "a")
    assert not await first.release("shelf", "a")
    assert not await first.take("shelf", "a")


async def test_a_renewed_lease_outlives_the_first_one(open_locks: OpenLocks):
    first, second = await open_locks(), await open_locks()
    for at in range(TRIES):
        if await first.take(f"shelf-{at}", "a", 1000) and await first.renew(f"shelf-{at}", "a", LONG_MS):
            break
    end_s = time.monotonic() + 1.5
    while time.monotonic() < end_s:
        assert not await second.take(f"shelf-{at}", "b")
        await asyncio.sleep(0.05)
    assert await first.release(f"shelf-{at}", "a")


async def test_what_is_kept_is_renewed_until_it_is_let_go(open_locks: OpenLocks):
    first, second = await open_locks(2000), await open_locks()
    for at in range(TRIES):
        async with first.keeping(f"shelf-{at}") as lock:
            end_s, taken = time.monotonic() + 3.5, 0
            while time.monotonic() < end_s and not taken:
                taken = await second.take(f"shelf-{at}", "b")
                assert not (taken and lock.sure()), "nobody else gets it while its owner is sure"
                await asyncio.sleep(0.05)
            if not taken:
                break
    assert not taken
    assert await second.take(f"shelf-{at}", "b"), "let go at the end"


async def test_losing_it_is_noticed(open_locks: OpenLocks):
    first = await open_locks(3000)
    async with first.keeping("shelf") as lock:
        await first.release("shelf", lock.owner)  # as the lease's end would
        async with asyncio.timeout(20):
            await lock.lost.wait()
        assert not lock.sure()


async def test_a_queue_for_one_lock_is_bounded(open_locks: OpenLocks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(holding, "QUEUE_MAX", 5)
    locks = await open_locks()
    release = asyncio.Event()

    async def enter() -> None:
        async with locks.holding(["shelf"]):
            await release.wait()

    queued = [asyncio.create_task(enter()) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await enter()
    release.set()
    await asyncio.gather(*queued)


async def test_who_waits_too_long_is_told(open_locks: OpenLocks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(holding, "WAIT_S", 0.05)
    first, second = await open_locks(), await open_locks()
    assert await first.take("shelf", "a")
    with pytest.raises(Overloaded):
        async with second.holding(["another shelf", "shelf"]):
            raise AssertionError("it is somebody's")
    assert await first.take("another shelf", "a"), "what was had on the way is let go"


async def test_the_late_write_of_a_paused_owner_is_refused_by_its_token(
    open_locks: OpenLocks, engine: str, places: str, prefix: str, tmp_path: Path, until
):
    """The owner is a process that is stopped past its lease, and goes on as if nothing had been."""
    file = str(tmp_path / "shelf.sqlite")
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE shelf (units INTEGER, fence INTEGER)")
        connection.execute("INSERT INTO shelf VALUES (0, 0)")
    other = await open_locks()
    words = [sys.executable, str(Path(__file__).with_name("late_writer.py")), engine, places, prefix, "3000", file]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    try:
        old = int(await child.stdout.readline())
        child.send_signal(signal.SIGSTOP)
        new = await until(lambda: other.take("shelf", "other"))
        assert new > old
        assert write(file, 2, new) == 1
        child.send_signal(signal.SIGCONT)
        child.stdin.write(b"write\n")
        assert await child.stdout.readline() == b"0 False\n", "no row changed, and it knew that it was not sure"
        assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT units, fence FROM shelf").fetchall() == [(2, new)]
    assert await other.release("shelf", "other"), "the late one has released nothing of another's"
