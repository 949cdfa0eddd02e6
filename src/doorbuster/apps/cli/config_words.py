"""Settings and their changes, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from doorbuster.contexts.configuration.views import ChangeView, DifferenceView, SettingView


def setting_words(setting: SettingView) -> str:
    """One line per field; a star marks what somebody has set."""
    set_here = {} if setting.stored is None else setting.stored.value
    lines = [
        f"{'*' if field in set_here else ' '} {setting.key}.{field} = {_json(value)}"
        for field, value in (setting.in_force or {}).items()
    ]
    rollout = None if setting.stored is None else setting.stored.rollout
    if rollout is not None:
        labels = f", labels {', '.join(rollout.labels)}" if rollout.labels else ""
        lines.append(f"  {setting.key}: {rollout.percent:g} %{labels} get {_json(rollout.value)}")
    if setting.problem:
        lines.append(f"! {setting.problem}")
    return "\n".join(lines)


def change_words(change: ChangeView) -> str:
    head = f"version {change.version}, {change.at}, {change.by}: {change.reason}"
    return "\n".join([head, *(f"  {line}" for each in change.differences for line in _difference_words(each))])


def _difference_words(difference: DifferenceView) -> list[str]:
    """Field by field, where both sides have fields."""
    before, after = _fields(difference.before), _fields(difference.after)
    lines = [
        f"{difference.key}.{field}: {_json(before[field]) if field in before else 'default'}"
        f" → {_json(after[field]) if field in after else 'default'}"
        for field in sorted({*before, *after})
        if before.get(field) != after.get(field) or (field in before) != (field in after)
    ]
    rollouts = _part(difference.before, "rollout"), _part(difference.after, "rollout")
    if rollouts[0] != rollouts[1]:
        lines.append(f"{difference.key} roll-out: {_json(rollouts[0])} → {_json(rollouts[1])}")
    return lines or [f"{difference.key}: {_json(difference.before)} → {_json(difference.after)}"]


def _fields(entry: Any) -> Mapping[str, Any]:
    value = _part(entry, "value")
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _part(entry: Any, name: str) -> Any:
    return cast("Mapping[str, Any]", entry).get(name) if isinstance(entry, dict) else None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
