"""Decisions about runtime settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from doorbuster.contracts.configuration import SettingInvalid, SettingUnknown
from doorbuster.platform.settings.config_store import BATCH_MAX, ENTRY_BYTES_MAX, Change
from doorbuster.platform.settings.declared import Declared
from doorbuster.platform.settings.rollout import Entry, encode_entry
from doorbuster.platform.settings.tree import WrongSetting

REASON_MAX = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Wish(Struct, frozen=True):
    """What is to be stored of a group; None: nothing, it goes back to its default."""

    name: str
    entry: Entry | None


class Group(Struct, frozen=True):
    """A group as one process sees it. `declared` is None for what a version left behind that knew it."""

    name: str
    declared: Declared[Any] | None
    entry: Entry | None
    in_force: Struct | None
    problem: str


class Overview(Struct, frozen=True):
    """`version` is what is stored, `version_in_force` what the process that answers has."""

    version: int
    version_in_force: int
    groups: Sequence[Group]


def checked_reason(reason: str) -> str:
    """Without spaces around it. Raises SettingInvalid."""
    reason = reason.strip()
    if not reason or len(reason) > REASON_MAX or _CONTROL.search(reason):
        raise SettingInvalid(
            f"a change has a reason, of 1 to {REASON_MAX} signs without control characters", key="reason"
        )
    return reason


def checked_entries(
    wishes: Sequence[Wish], declared: Mapping[str, Declared[Any]], stored: Iterable[str]
) -> dict[str, bytes | None]:
    """What to store, by name. Raises SettingUnknown, SettingInvalid.

    What is `stored` under a name that nobody knows any more may be taken away, not changed.
    """
    if not 1 <= len(wishes) <= BATCH_MAX:
        raise SettingInvalid(f"a change has 1 to {BATCH_MAX} settings", key="changes")
    entries: dict[str, bytes | None] = {}
    for wish in wishes:
        if wish.name in entries:
            raise SettingInvalid(f"{wish.name} is there twice", key=wish.name)
        if wish.entry is not None:
            entries[wish.name] = checked_entry(wish.name, wish.entry, declared)
        elif wish.name in declared or wish.name in stored:
            entries[wish.name] = None
        else:
            raise unknown(wish.name)
    return entries


def checked_entry(name: str, entry: Entry, declared: Mapping[str, Declared[Any]]) -> bytes:
    """Raises SettingUnknown, SettingInvalid."""
    group = declared.get(name)
    if group is None:
        raise unknown(name)
    try:
        group.value_of(entry.value)
        if entry.rollout is not None:
            group.value_of(entry.rollout.value)
    except WrongSetting as wrong:
        raise invalid(wrong) from wrong
    encoded = encode_entry(entry)
    if len(encoded) > ENTRY_BYTES_MAX:
        raise SettingInvalid(f"{name}: more than {ENTRY_BYTES_MAX} bytes", key=name)
    return encoded


def invalid(wrong: WrongSetting) -> SettingInvalid:
    return SettingInvalid(f"{wrong.key}: {wrong.problem}", key=wrong.key)


def unknown(name: str) -> SettingUnknown:
    shown = name[:100]
    return SettingUnknown(f"there is no setting {shown!r}", key=shown)


def undone(changes: Iterable[Change]) -> dict[str, bytes | None]:
    """What was stored before the first of these changes (ascending), of what they have changed."""
    before: dict[str, bytes | None] = {}
    for change in changes:
        for difference in change.differences:
            before.setdefault(difference.name, difference.before)
    return before
