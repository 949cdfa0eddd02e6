"""What the demo shows: steps as they happen, and a stampede live."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from doorbuster.lab.stampede import Progress

SCENE_WIDTH = 8
_COLOURS = {
    "sale": "red",
    "opening": "blue",
    "takeout": "yellow",
    "support": "magenta",
    "parcel": "cyan",
    "returns": "green",
    "post": "blue",
    "door": "red",
}
_COLUMNS = ("arrived", "in flight", "claimed", "sold out", "over limit", "errors", "p50 ms", "p99 ms", "answers/s")


class LiveTable:
    """One row that is redrawn on a terminal, and a line a second elsewhere."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console, self._names = console, names
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None
        self._said_s = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def due(self) -> bool:
        """Whether it is time to show something."""
        return self._live is not None or time.monotonic() - self._said_s >= 1.0

    def show(self, *values: str) -> None:
        self._said_s = time.monotonic()
        if self._live is None:
            named = zip(self._names, values, strict=True)
            self._console.print("    " + ", ".join(f"{name} {value}" for name, value in named), soft_wrap=True)
            return
        table = Table(box=None, padding=(0, 2))
        for name in self._names:
            table.add_column(name, justify="right")
        table.add_row(*values)
        self._live.update(table)


class LiveView(LiveTable):
    """Of a stampede."""

    def __init__(self, console: Console | None = None, units: int | None = None) -> None:
        super().__init__(console or Console(stderr=True), _COLUMNS if units is None else (*_COLUMNS, "units left"))
        self._units = units

    def progress(self, seen: Progress) -> None:
        if not self.due():
            return
        left = () if self._units is None else (f"{max(0, self._units - seen.claimed)}",)
        self.show(
            f"{seen.arrived}",
            f"{seen.in_flight}",
            f"{seen.claimed}",
            f"{seen.sold_out}",
            f"{seen.limited}",
            f"{seen.errors + seen.unknown}",
            f"{seen.p50_ms:.1f}",
            f"{seen.p99_ms:.1f}",
            f"{seen.per_s:.0f}",
            *left,
        )


class Teller:
    """Says what happens in one scene, each line under the scene's name."""

    def __init__(self, scene: str, console: Console) -> None:
        self._scene = scene
        self._console = console
        self._colour = _COLOURS[scene]

    def __call__(self, words: str) -> None:
        self._console.print(f"  [{self._colour}]{self._scene:<{SCENE_WIDTH}}[/] {escape(words)}", soft_wrap=True)


def act(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/]", soft_wrap=True)


def step(console: Console, words: str) -> None:
    console.print(f"● {escape(words)}", soft_wrap=True)
