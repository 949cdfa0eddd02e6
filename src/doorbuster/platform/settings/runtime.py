"""Settings that change while the shop runs: read at each decision, without I/O.

    limits = platform.runtime.live(CLAIM_LIMITS)   # once, where something is built
    limits().per_second                            # whenever it is needed
    limits.for_key(account_id).per_second          # where a change is rolled out gradually

Whoever only reads takes a plain `Callable[[], T]`, so that tests and other homes can give a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

import structlog
from msgspec import Struct

from doorbuster.platform.settings.config_store import Snapshot
from doorbuster.platform.settings.declared import Declared, all_declared, declare
from doorbuster.platform.settings.rollout import BUCKETS, Entry, bucket_of, buckets_within, decode_entry
from doorbuster.platform.settings.tree import WrongSetting

__all__ = ["Live", "Runtime", "Unsubscribe", "declare"]

T = TypeVar("T", bound=Struct)
Unsubscribe = Callable[[], None]

log = structlog.get_logger("settings")


class _Candidate(Struct, Generic[T], frozen=True):
    value: T
    buckets: int
    labels: frozenset[str]


class Live(Generic[T]):
    """The current value of one group in this process."""

    __slots__ = ("_callbacks", "_candidate", "_value", "declared", "problem")

    def __init__(self, declared: Declared[T]) -> None:
        self.declared = declared
        self.problem = ""
        """Why what is stored is not in force; empty if it is."""
        self._candidate: _Candidate[T] | None = None
        self._value: T = declared.default
        self._callbacks: list[Callable[[T], None]] = []

    def __call__(self) -> T:
        """The value that holds for this process."""
        return self._value

    def for_key(self, key: str | int, labels: Collection[str] = ()) -> T:
        """The value for one caller (an account, an address, an order) while a change is rolled out.

        A label that the roll-out names decides before the percentage does.
        """
        candidate = self._candidate
        if candidate is None:
            return self._value
        if not candidate.labels.isdisjoint(labels):
            return candidate.value
        if bucket_of(self.declared.name, key) < candidate.buckets:
            return candidate.value
        return self._value

    def subscribe(self, callback: Callable[[T], None]) -> Unsubscribe:
        """Calls `callback` with `live()` whenever that, or its candidate, is another one; on the event loop.

        All groups of one change have been swapped by then. What it raises is logged; the value stays in force.
        """
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def take(self, entry: Entry, labels: Collection[str]) -> bool:
        """Swaps the value in; says whether `live()` or `for_key` may differ. Raises WrongSetting, and keeps the old."""
        base = self.declared.value_of(entry.value)
        candidate = self._candidate_of(entry)
        everywhere = candidate is not None and (candidate.buckets >= BUCKETS or not candidate.labels.isdisjoint(labels))
        value = candidate.value if everywhere and candidate is not None else base
        changed = (candidate, value) != (self._candidate, self._value)
        self._candidate, self._value = candidate, value
        self.problem = ""
        return changed

    def tell(self) -> None:
        for callback in list(self._callbacks):
            try:
                callback(self._value)
            except Exception:
                log.exception("a subscriber of settings failed", key=self.declared.name)

    def _candidate_of(self, entry: Entry) -> _Candidate[T] | None:
        rollout = entry.rollout
        if rollout is None:
            return None
        value = self.declared.value_of(rollout.value)
        return _Candidate(value, buckets_within(rollout.percent), frozenset(rollout.labels))


class Runtime:
    """The runtime settings of one process; whoever follows the store feeds it. Until then everything has its default.

    `labels`: what this process is called in roll-outs ("canary"): where one of them is named, `live()` has the
    candidate.
    """

    def __init__(self, labels: Collection[str] = ()) -> None:
        self._labels = frozenset(labels)
        self._lives: dict[str, Live[Any]] = {}
        self._snapshot = Snapshot(0, {})
        self._callbacks: list[Callable[[int, Collection[str]], None]] = []

    @property
    def version(self) -> int:
        """Of the settings in force here; 0 before anything was ever set."""
        return self._snapshot.version

    @property
    def problems(self) -> Mapping[str, str]:
        """Names whose stored values are not in force in this process, and why."""
        unknown = {name: "there is no such setting" for name in self._snapshot.entries if name not in all_declared()}
        return unknown | {name: live.problem for name, live in sorted(self._lives.items()) if live.problem}

    def live(self, declared: Declared[T]) -> Live[T]:
        """The same one for the same group."""
        found = self._lives.get(declared.name)
        if found is None:
            found = self._lives[declared.name] = Live(declared)
            self._take(found)
        assert found.declared is declared, f"{declared.name} is declared twice"
        return found

    def subscribe(self, callback: Callable[[int, Collection[str]], None]) -> Unsubscribe:
        """Calls `callback(version, names that changed)` after each change, on the event loop."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def apply(self, snapshot: Snapshot) -> None:
        """Puts what is stored into force, all of it between two steps of the event loop. Older snapshots are ignored.

        A value that does not fit its type (it was written by another version) leaves the one in force: at a start the
        default. It is logged and stands in `problems`.
        """
        if snapshot.version <= self._snapshot.version:
            return
        self._snapshot = snapshot
        for declared in all_declared().values():
            self._lives.setdefault(declared.name, Live(declared))
        changed = [live for live in self._lives.values() if self._take(live)]
        for live in changed:
            live.tell()
        log.info("settings changed", version=snapshot.version, keys=[live.declared.name for live in changed])
        self._tell(snapshot.version, [live.declared.name for live in changed])

    def _take(self, live: Live[Any]) -> bool:
        name = live.declared.name
        stored = self._snapshot.entries.get(name)
        try:
            return live.take(Entry() if stored is None else decode_entry(name, stored), self._labels)
        except WrongSetting as wrong:
            live.problem = str(wrong)
            log.warning("a stored setting does not fit and is not in force", key=wrong.key, problem=wrong.problem)
            return False

    def _tell(self, version: int, names: Collection[str]) -> None:
        for callback in list(self._callbacks):
            try:
                callback(version, names)
            except Exception:
                log.exception("a subscriber of settings failed", version=version)
