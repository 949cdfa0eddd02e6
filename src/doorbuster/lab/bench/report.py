"""What every measurement hands over: JSON, a table for people, perhaps a chart, and whether it counts at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import msgspec
from msgspec import Struct

from doorbuster.lab.bench.machine import Machine

DIGITS = 3


class Measured(Struct, frozen=True, kw_only=True):
    """Where and how it was measured. Void unless `ok`: rows contradict what was answered. Subclasses add figures."""

    name: ClassVar[str]
    """Of the command, and of the files that are written."""
    machine: Machine
    command: str
    breaches: Sequence[str]

    @property
    def ok(self) -> bool:
        return not self.breaches

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded: `{"ok", "machine", "command", "breaches"}` and the figures."""
        return as_plain({"ok": self.ok, **msgspec.structs.asdict(self)})

    def chart(self) -> str | None:
        """An SVG document, if this is something to look at."""
        return None


class Report(Protocol):
    name: ClassVar[str]

    @property
    def ok(self) -> bool: ...
    def as_json(self) -> dict[str, Any]: ...
    def table(self) -> str: ...
    def chart(self) -> str | None: ...


def write_files(report: Report, folder: Path) -> None:
    """`<name>.json`, and `<name>.svg` if there is a chart. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.format(msgspec.json.encode(report.as_json()))
    (folder / f"{report.name}.json").write_bytes(content + b"\n")
    chart = report.chart()
    if chart is not None:
        (folder / f"{report.name}.svg").write_text(chart, "utf-8")


def as_plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _rounded(msgspec.to_builtins(value)) for name, value in fields.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(held) for name, held in cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(held) for held in cast("list[Any]", value)]
    return value
