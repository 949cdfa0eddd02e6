"""Runtime settings as they are shown, over HTTP and on the command line."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from doorbuster.contexts.configuration.model import Group, Overview
from doorbuster.kernel.clock import rfc3339
from doorbuster.platform.http.faces import TimeText
from doorbuster.platform.settings.config_store import Change
from doorbuster.platform.settings.rollout import Entry, Rollout

BY_COMMAND_LINE = "operator"


class EntryView(Struct, frozen=True):
    """`value`: the fields somebody has set; `rollout`: those that a part of the callers get."""

    value: dict[str, Any]
    rollout: Rollout | None

    @classmethod
    def of(cls, entry: Entry | None) -> EntryView | None:
        return None if entry is None else cls(entry.value, entry.rollout)


class SettingView(Struct, frozen=True):
    """`in_force` is what the server that answers has; `problem` says why that is not what is stored."""

    key: str
    stored: EntryView | None
    in_force: dict[str, Any] | None
    default: dict[str, Any] | None
    problem: str | None

    @classmethod
    def of(cls, group: Group) -> SettingView:
        default = None if group.declared is None else _fields(group.declared.default)
        in_force = None if group.in_force is None else _fields(group.in_force)
        return cls(group.name, EntryView.of(group.entry), in_force, default, group.problem or None)


class SettingsView(Struct, frozen=True):
    version: int
    version_in_force: int
    items: list[SettingView]

    @classmethod
    def of(cls, overview: Overview) -> SettingsView:
        items = [SettingView.of(group) for group in overview.groups]
        return cls(overview.version, overview.version_in_force, items)


class OneSettingView(Struct, frozen=True):
    """With the JSON schema of its fields."""

    version: int
    setting: SettingView
    json_schema: dict[str, Any] | None

    @classmethod
    def of(cls, version: int, group: Group) -> OneSettingView:
        schema = None if group.declared is None else msgspec.json.schema(group.declared.type)
        return cls(version, SettingView.of(group), schema)


class DifferenceView(Struct, frozen=True):
    key: str
    before: Any
    after: Any


class ChangeView(Struct, frozen=True):
    """`by` is an account, or "operator" for the command line."""

    version: int
    by: str
    at: TimeText
    reason: str
    differences: list[DifferenceView]

    @classmethod
    def of(cls, change: Change) -> ChangeView:
        differences = [
            DifferenceView(each.name, _shown(each.before), _shown(each.after)) for each in change.differences
        ]
        by = str(change.by) if change.by else BY_COMMAND_LINE
        return cls(change.version, by, rfc3339(change.at_ms), change.reason, differences)


class ChangePage(Struct, frozen=True):
    items: list[ChangeView]
    next_cursor: str | None


def _fields(value: Struct) -> dict[str, Any]:
    return msgspec.to_builtins(value)


def _shown(stored: bytes | None) -> Any:
    """What is stored, also what no version wrote that we know."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored)
    except msgspec.DecodeError:
        return stored.decode("utf-8", "replace")
