"""What every ConfigStore does. Engines inherit it: a subclass says how one is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from doorbuster.platform.settings.config_store import (
    Change,
    ConfigStore,
    Difference,
    Proposal,
    Snapshot,
    VersionMoved,
)
from doorbuster.platform.settings.declared import declared_as
from doorbuster.platform.settings.following import follow
from doorbuster.platform.settings.runtime import Runtime
from settings_groups import stored

UNTIL_S = 20.0
SETTERS = 8


def proposal(reason: str = "a test", **entries: bytes | None) -> Proposal:
    return Proposal(7, 1_790_000_000_000, reason, entries)


def fields(snapshot: Snapshot) -> Mapping[str, bytes]:
    return dict(snapshot.entries)


class ConfigStoreBehaviour:
    """A test class that inherits this has fixtures `store` and `other`: two processes' ways to the same settings."""

    async def test_it_begins_empty_at_version_zero(self, store: ConfigStore):
        assert await store.read() == Snapshot(0, {})
        assert list(await store.changes_after(0, 10)) == []
        assert list(await store.changes_before(10, 10)) == []

    async def test_a_batch_is_one_version_with_its_differences(self, store: ConfigStore, other: ConfigStore):
        first = await store.put(0, proposal("why not", a=b"1", b=b"2"))
        wanted = (Difference("a", None, b"1"), Difference("b", None, b"2"))
        assert first == Change(1, 7, 1_790_000_000_000, "why not", wanted)
        second = await other.put(1, proposal(a=b"3", b=None, c=None))
        assert second.differences == (Difference("a", b"1", b"3"), Difference("b", b"2", None))
        assert await store.read() == Snapshot(2, {"a": b"3"})
        assert list(await store.changes_after(0, 10)) == [first, second]
        assert list(await store.changes_after(1, 10)) == [second]
        assert list(await store.changes_after(0, 1)) == [first]
        assert list(await store.changes_before(3, 10)) == [second, first]
        assert list(await store.changes_before(2, 10)) == [first]
        assert list(await store.changes_before(3, 1)) == [second]

    async def test_what_is_the_same_moves_the_version_and_is_no_difference(self, store: ConfigStore):
        await store.put(0, proposal(a=b"1"))
        same = await store.put(1, proposal(a=b"1"))
        assert (same.version, same.differences) == (2, ())
        assert list(await store.changes_after(1, 10)) == [same]

    @pytest.mark.parametrize("expected", [0, 2, 2**53])
    async def test_another_version_than_expected_writes_nothing(self, store: ConfigStore, expected: int):
        first = await store.put(0, proposal(a=b"1"))
        with pytest.raises(VersionMoved) as moved:
            await store.put(expected, proposal(a=b"2", b=b"2"))
        assert moved.value.version == 1
        assert await store.read() == Snapshot(1, {"a": b"1"})
        assert list(await store.changes_after(0, 10)) == [first]

    async def test_of_many_setters_at_one_version_one_wins(self, store: ConfigStore, other: ConfigStore):
        gate = asyncio.Event()

        async def put(number: int) -> int | None:
            await gate.wait()
            entries = {"a": b"%d" % number, f"only{number}": b"x"}
            try:
                await (store, other)[number % 2].put(0, proposal(f"setter {number}", **entries))
            except VersionMoved as moved:
                assert moved.version == 1
                return None
            return number

        setting = [asyncio.create_task(put(number)) for number in range(SETTERS)]
        gate.set()
        (winner,) = [number for number in await asyncio.gather(*setting) if number is not None]
        assert await store.read() == Snapshot(1, {"a": b"%d" % winner, f"only{winner}": b"x"})
        (change,) = await store.changes_after(0, 10)
        assert change.reason == f"setter {winner}"

    async def test_setters_who_look_again_all_come_through(self, store: ConfigStore, other: ConfigStore):
        async def put(number: int) -> None:
            kept = (store, other)[number % 2]
            for _ in range(SETTERS):  # each time one of the others has won
                snapshot = await kept.read()
                try:
                    await kept.put(snapshot.version, proposal(**{f"n{number}": b"%d" % snapshot.version}))
                except VersionMoved:
                    continue
                return
            raise AssertionError("somebody wins each time")

        await asyncio.gather(*(put(number) for number in range(SETTERS)))
        snapshot = await store.read()
        assert snapshot.version == SETTERS
        assert sorted(snapshot.entries.values()) == [b"%d" % number for number in range(SETTERS)]
        assert [change.version for change in await store.changes_after(0, 100)] == list(range(1, SETTERS + 1))

    async def test_who_waits_is_told_of_a_change_made_elsewhere(self, store: ConfigStore, other: ConfigStore):
        await store.put(0, proposal(a=b"1"))
        async with asyncio.timeout(UNTIL_S):
            assert await other.newer_than(0) == 1
            waiting = asyncio.create_task(other.newer_than(1))
            await store.put(1, proposal(a=b"2"))
            assert await waiting == 2
            waiting = asyncio.create_task(store.newer_than(2))
            await store.put(2, proposal(a=b"3"))
            assert await waiting == 3

    async def test_a_process_that_follows_has_what_is_stored(self, store: ConfigStore, other: ConfigStore):
        runtime = Runtime()
        live = runtime.live(declared_as("tests.limits"))
        seen: asyncio.Queue[int] = asyncio.Queue()
        live.subscribe(lambda value: seen.put_nowait(value.burst))
        following = asyncio.create_task(follow(other, runtime))
        async with asyncio.timeout(UNTIL_S):
            for version, burst in enumerate((30, 40, 50)):
                await store.put(version, Proposal(7, 1, "x", stored(0, {"tests.limits": {"burst": burst}}).entries))
                assert await seen.get() == burst
        assert (runtime.version, live().burst) == (3, 50)
        following.cancel()

    async def test_a_reader_never_sees_half_a_batch(self, store: ConfigStore, other: ConfigStore):
        async def write() -> None:
            for version in range(30):
                await store.put(version, proposal(a=b"%d" % version, b=b"%d" % version))

        writing = asyncio.create_task(write())
        while not writing.done():
            snapshot = await other.read()
            assert len(set(snapshot.entries.values())) <= 1
            assert snapshot.version == int(snapshot.entries.get("a", b"-1")) + 1
        await writing

    async def test_history_is_bounded(self, store: ConfigStore, monkeypatch: pytest.MonkeyPatch):
        self.keep_only(monkeypatch, 3)
        for version in range(5):
            await store.put(version, proposal(a=b"%d" % version))
        assert [change.version for change in await store.changes_after(0, 10)] == [3, 4, 5]
        assert [change.version for change in await store.changes_before(4, 10)] == [3]
        assert await store.read() == Snapshot(5, {"a": b"4"})

    def keep_only(self, monkeypatch: pytest.MonkeyPatch, versions: int) -> None:
        """Makes the engine keep so few versions."""
        raise NotImplementedError
