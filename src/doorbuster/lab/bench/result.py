"""What a run of the bench found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from msgspec import Struct

from doorbuster.lab.bench.chart import chart_of
from doorbuster.lab.bench.consumer import ConsumerFigures
from doorbuster.lab.bench.hot_sku import HotFigures
from doorbuster.lab.bench.http_claims import HttpFigures
from doorbuster.lab.bench.machine import Durability
from doorbuster.lab.bench.messages import Store
from doorbuster.lab.bench.report import Measured, as_plain
from doorbuster.lab.bench.sellers import Strategy
from doorbuster.lab.bench.start import StartFigures
from doorbuster.lab.bench.stores import Engine, Skipped
from doorbuster.lab.bench.table import table_of


class Ratios(Struct, frozen=True):
    """Rates of one run against each other. `http_cpu` is the same ratio from processor time: steadier on a busy
    machine, and what the rates come to when nothing but the server's core is short."""

    http: Mapping[str, float]
    http_cpu: Mapping[str, float]
    hot_sku: Mapping[Engine, Mapping[str, float]]


class BenchResult(Measured, frozen=True, kw_only=True):
    """Everything measured in one run of `doorbuster bench`."""

    name: ClassVar[str] = "bench"
    http: Mapping[Store, HttpFigures | Skipped]
    hot_sku: Mapping[Engine, Mapping[Strategy, HotFigures] | Skipped]
    consumer: Mapping[Engine, ConsumerFigures | Skipped]
    start: StartFigures
    durability: Durability

    @property
    def ratios(self) -> Ratios:
        return Ratios(
            _to_none(self.http, _rate),
            _to_none(self.http, _claims_per_cpu_s),
            {engine: _group_commit(of) for engine, of in self.hot_sku.items() if not isinstance(of, Skipped)},
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded: `{"ok", "http", "hot_sku", "consumer", "start", "ratios", ...}`."""
        return super().as_json() | as_plain({"ratios": self.ratios})

    def table(self) -> str:
        """The same for people."""
        return table_of(self.as_json())

    def chart(self) -> str:
        return chart_of(self.as_json())


def _rate(figures: HttpFigures) -> float:
    return figures.per_s


def _claims_per_cpu_s(figures: HttpFigures) -> float:
    return 1e6 / figures.cpu_us


def _to_none(figures: Mapping[Store, HttpFigures | Skipped], value: Callable[[HttpFigures], float]) -> dict[str, float]:
    base = figures["none"]
    assert not isinstance(base, Skipped), "there is always a server without a store"
    return {
        f"{store}/none": value(of) / value(base)
        for store, of in figures.items()
        if store != "none" and not isinstance(of, Skipped)
    }


def _group_commit(figures: Mapping[Strategy, HotFigures]) -> dict[str, float]:
    top = figures["group_commit"].per_s
    return {
        f"group_commit/{strategy}": top / of.per_s
        for strategy, of in figures.items()
        if strategy != "group_commit" and of.per_s
    }
