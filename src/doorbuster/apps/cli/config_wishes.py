"""What `config set` wants, out of its words: "limits.claims.per_second=50"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from doorbuster.contexts.configuration.model import Wish, unknown
from doorbuster.contracts.configuration import SettingInvalid
from doorbuster.platform.settings.declared import Fields, all_declared
from doorbuster.platform.settings.rollout import Entry, Rollout


def wishes_of(
    assignments: Sequence[str],
    resets: Sequence[str],
    stored: Mapping[str, Entry],
    percent: float | None,
    labels: Sequence[str],
) -> list[Wish]:
    """What to store so that these fields have these values and others stay.

    With a percentage or labels only a part of the callers get them; without, everybody does, and what was rolled out
    before is over. Raises SettingUnknown, SettingInvalid.
    """
    partly = percent is not None or bool(labels)
    fields: dict[str, Fields | None] = {}

    def of(name: str) -> Fields:
        if fields.get(name) is None:
            fields[name] = dict(_before(stored.get(name), partly))
        return cast("Fields", fields[name])

    for path in resets:
        name, field = _split(path, stored)
        if field:
            of(name).pop(field, None)
        else:
            fields[name] = {} if partly else None
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign:
            raise SettingInvalid(f"{assignment!r}: it goes like key.field=value", key=path[:100])
        name, field = _split(path, ())
        if field:
            of(name)[field] = _value(text)
        else:
            fields[name] = _fields(name, text)
    rollout = (percent or 0.0, tuple(labels)) if partly else None
    return [Wish(name, _entry(stored.get(name), value, rollout)) for name, value in fields.items()]


def _before(entry: Entry | None, partly: bool) -> Fields:
    if entry is None:
        return {}
    return entry.rollout.value if partly and entry.rollout is not None else entry.value


def _entry(stored: Entry | None, fields: Fields | None, rollout: tuple[float, tuple[str, ...]] | None) -> Entry | None:
    if fields is None:
        return None
    if rollout is None:
        return Entry(fields)
    return Entry({} if stored is None else stored.value, Rollout(fields, *rollout))


def _split(path: str, leftovers: Iterable[str]) -> tuple[str, str]:
    """(group, field or ""). Groups do not lie within one another, so there is one way to read it."""
    for name in (*all_declared(), *leftovers):
        if path == name:
            return name, ""
        if path.startswith(f"{name}."):
            return name, path[len(name) + 1 :]
    raise unknown(path)


def _value(text: str) -> Any:
    """JSON, or else a text as it is."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _fields(name: str, text: str) -> Fields:
    try:
        return msgspec.json.decode(text, type=Fields)
    except msgspec.DecodeError as error:
        raise SettingInvalid(f"{name}: all fields at once are a JSON object", key=name) from error
