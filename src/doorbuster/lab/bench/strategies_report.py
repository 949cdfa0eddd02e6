"""What `doorbuster bench strategies` found: JSON, table, chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from msgspec import Struct

from doorbuster.contracts.inventory import Strategy
from doorbuster.lab.bench.chart import LABELS, Bar, Panel, drawing
from doorbuster.lab.bench.machine import Durability
from doorbuster.lab.bench.report import Measured, as_plain
from doorbuster.lab.bench.stores import Engine, Skipped
from doorbuster.lab.bench.table import Json, circumstances

OURS: Strategy = "group_commit"
TITLES = {"hot": "One hot SKU", "spread": "1,000 SKUs"}


class StrategyFigures(Struct, frozen=True):
    """Medians over the rounds; counts are of everything that was asked. `cpu_us`: processor time per hold of the shop's
    process with its 16 clients, without the database's and Redis'. `turned_away`: lost too many races."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    holds: int
    out_of_stock: int
    turned_away: int
    oversold: int
    per_s_of_rounds: tuple[float, ...]


class Side(Struct, frozen=True):
    """All strategies on one database."""

    hot: Mapping[Strategy, StrategyFigures | Skipped]
    spread: Mapping[Strategy, StrategyFigures | Skipped]

    def as_json(self) -> dict[str, Any]:
        ratios = {"hot": _ratios(self.hot), "spread": _ratios(self.spread)}
        return as_plain({"hot": self.hot, "spread": self.spread, "ratios": ratios})


class StrategiesReport(Measured, frozen=True, kw_only=True):
    name: ClassVar[str] = "strategies"
    sides: Mapping[Engine, Side | Skipped]
    durability: Durability

    @property
    def store(self) -> Engine:
        """Whose figures stand on top: PostgreSQL's, where there is one."""
        measured: list[Engine] = [engine for engine, side in self.sides.items() if isinstance(side, Side)]
        return "postgres" if "postgres" in measured else measured[0]

    def as_json(self) -> dict[str, Any]:
        """`{"ok", "store", "hot", "spread", "ratios", "others": {"sqlite": {"hot", ...}}, "machine", ...}`"""
        top = self.sides[self.store]
        assert isinstance(top, Side)
        others = {
            engine: side.as_json() if isinstance(side, Side) else as_plain({"skipped": side.skipped})
            for engine, side in self.sides.items()
            if engine != self.store
        }
        content = super().as_json()
        del content["sides"]
        return {"ok": self.ok, "store": self.store, **top.as_json(), "others": others} | content

    def table(self) -> str:
        found = self.as_json()
        lines = [*_side(self.store, found)]
        for engine, side in found["others"].items():
            lines += [f"{LABELS[engine]} skipped: {side['skipped']}", ""] if "skipped" in side else _side(engine, side)
        return "\n".join([*lines, *circumstances(found)])

    def chart(self) -> str:
        found = self.as_json()
        sides = {self.store: found} | {engine: of for engine, of in found["others"].items() if "skipped" not in of}
        panels = [_panel(engine, load, side) for engine, side in sides.items() for load in TITLES]
        where = f"{found['machine']['cpu']}, {found['machine']['cores']} cores. {self.command}"
        return drawing("Five ways to deduct stock", panels, where)


def _ratios(figures: Mapping[Strategy, StrategyFigures | Skipped]) -> dict[str, float]:
    ours = figures[OURS]
    assert isinstance(ours, StrategyFigures)
    return {
        f"{OURS}/{strategy}": ours.per_s / of.per_s
        for strategy, of in figures.items()
        if strategy != OURS and isinstance(of, StrategyFigures) and of.per_s
    }


def _side(engine: str, side: Json) -> Iterable[str]:
    for load, title in TITLES.items():
        yield f"{title} on {LABELS[engine]}, 16 clients, in process, every hold committed (medians of rounds)"
        yield f"  {'strategy':19} {'per s':>7} {'p50 ms':>7} {'p99 ms':>7} {'µs cpu':>7} {'gave up':>8} {'oversold':>9}"
        for strategy, of in side[load].items():
            if "skipped" in of:
                yield f"  {LABELS[strategy]:19} skipped: {of['skipped']}"
                continue
            ratio = side["ratios"][load].get(f"{OURS}/{strategy}")
            times = "" if ratio is None else f"  group commit is {ratio:.1f} times as fast"
            yield (
                f"  {LABELS[strategy]:19} {of['per_s']:7.0f} {of['p50_ms']:7.2f} {of['p99_ms']:7.2f} "
                f"{of['cpu_us']:7.0f} {of['turned_away']:8} {of['oversold']:9}{times}"
            )
        yield ""


def _panel(engine: str, load: str, side: Json) -> Panel:
    base = side[load]["pessimistic"]["per_s"]
    bars = [
        Bar(
            LABELS[strategy],
            of["per_s"],
            "ours" if strategy == OURS else strategy,
            f"{of['per_s'] / base:.1f} ×" if base and strategy != "pessimistic" else "",
        )
        for strategy, of in side[load].items()
        if "skipped" not in of
    ]
    return Panel(f"{TITLES[load]} on {LABELS[engine]}", "holds per second, 16 clients, equal durability", bars)
