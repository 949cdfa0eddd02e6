"""Groups of runtime settings that only tests declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from doorbuster.platform.settings.config_store import Snapshot
from doorbuster.platform.settings.declared import Declared, declare, forget
from doorbuster.platform.settings.rollout import Entry, Rollout, encode_entry
from doorbuster.platform.settings.tree import WrongSetting


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    per_second: Annotated[int, Meta(ge=1, le=1000)] = 10
    burst: Annotated[int, Meta(ge=1, le=1000)] = 20
    paths: Annotated[tuple[str, ...], Meta(max_length=3)] = ()


def burst_holds_a_second(limits: Limits) -> None:
    if limits.burst < limits.per_second:
        raise WrongSetting("tests.limits.burst", "must not be below per_second")


class Door(Struct, frozen=True, forbid_unknown_fields=True):
    open: bool = True


@contextmanager
def groups() -> Iterator[tuple[Declared[Limits], Declared[Door]]]:
    limits = declare("tests.limits", Limits, Limits(), burst_holds_a_second)
    door = declare("tests.door", Door, Door())
    try:
        yield limits, door
    finally:
        forget(limits)
        forget(door)


def stored(version: int, entries: Mapping[str, Any]) -> Snapshot:
    """A snapshot of fields (dicts), entries, or raw bytes, by name."""
    return Snapshot(version, {name: _encoded(entry) for name, entry in entries.items()})


def _encoded(entry: Any) -> bytes:
    if isinstance(entry, Entry):
        return encode_entry(entry)
    return entry if isinstance(entry, bytes) else msgspec.json.encode({"value": entry})


def rolled_out(value: dict[str, Any], percent: float = 0.0, *labels: str, base: dict[str, Any] | None = None) -> Entry:
    return Entry(base or {}, Rollout(value, percent, labels))
