"""The result as a chart: plain SVG, written by hand, readable in light and in dark, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from msgspec import Struct

WIDTH, MARGIN, BAR_HEIGHT, GAP, TITLE_HEIGHT = 760, 16, 22, 8, 56
LABEL_WIDTH, VALUE_WIDTH = 190, 150
LABELS = {
    "none": "no store",
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "pessimistic": "pessimistic lock",
    "optimistic": "optimistic version",
    "redis_lua": "Redis script",
    "redis_lock": "Redis lock",
    "group_commit": "group commit",
}
_STYLE = """
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}.quiet{fill:#59636e;font-size:12px}
.paper{fill:#fff}.none{fill:#8c959f}.pessimistic{fill:#cf6a5e}.optimistic{fill:#d4a32f}
.redis_lua{fill:#3f9c6b}.redis_lock{fill:#8d6cc0}.ours{fill:#2f7fd1}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.paper{fill:#0d1117}}
"""


class Bar(Struct, frozen=True):
    """`kind` chooses the colour; `note` stands behind the value."""

    label: str
    value: float
    kind: str
    note: str = ""


class Panel(Struct, frozen=True):
    title: str
    subtitle: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        return TITLE_HEIGHT + len(self.bars) * (BAR_HEIGHT + GAP) + GAP


def chart_of(result: Mapping[str, Any]) -> str:
    """An SVG document of what `BenchResult.as_json` gives."""
    machine = result["machine"]
    panels = [_http(result["http"], result["ratios"]["http"])]
    panels += [_hot_sku(engine, of) for engine, of in result["hot_sku"].items() if "skipped" not in of]
    where = f"{machine['cpu']}, {machine['cores']} cores. {result['command']}"
    return drawing("Durable claims per second", panels, where)


def drawing(title: str, panels: Sequence[Panel], where: str) -> str:
    """Panels one below the other, and where it was measured."""
    height = sum(panel.height for panel in panels) + 3 * MARGIN
    parts: list[str] = []
    top = MARGIN
    for panel in panels:
        parts.append(_drawn(panel, top))
        top += panel.height
    parts.append(f'<text class="quiet" x="{MARGIN}" y="{top + MARGIN}">{escape(where)}</text>')
    described = " ".join(_described(panel) for panel in panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="chart-title chart-text">'
        f'<title id="chart-title">{escape(title)}</title>'
        f'<desc id="chart-text">{escape(described)}</desc><style>{_STYLE}</style>'
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>{"".join(parts)}</svg>\n'
    )


def _http(figures: Mapping[str, Any], ratios: Mapping[str, float]) -> Panel:
    bars = [
        Bar(
            LABELS[store],
            of["per_s"],
            "none" if store == "none" else "ours",
            f"{ratios[f'{store}/none']:.2f} of no store" if f"{store}/none" in ratios else "",
        )
        for store, of in figures.items()
        if "skipped" not in of
    ]
    return Panel("Claims per second over HTTP", "one server process, 64 connections, acknowledged after commit", bars)


def _hot_sku(engine: str, strategies: Mapping[str, Any]) -> Panel:
    slowest = strategies["pessimistic"]["per_s"]
    bars = [
        Bar(
            LABELS[strategy],
            of["per_s"],
            "ours" if strategy == "group_commit" else strategy,
            f"{of['per_s'] / slowest:.1f} ×" if slowest and strategy != "pessimistic" else "",
        )
        for strategy, of in strategies.items()
    ]
    return Panel(f"One hot SKU on {LABELS[engine]}", "claims per second, 16 clients, equal durability", bars)


def _drawn(panel: Panel, top: int) -> str:
    parts = [
        f'<text class="title" x="{MARGIN}" y="{top + 18}">{escape(panel.title)}</text>',
        f'<text class="quiet" x="{MARGIN}" y="{top + 38}">{escape(panel.subtitle)}</text>',
    ]
    greatest = max((bar.value for bar in panel.bars), default=0) or 1
    room = WIDTH - 2 * MARGIN - LABEL_WIDTH - VALUE_WIDTH
    for number, bar in enumerate(panel.bars):
        y = top + TITLE_HEIGHT + number * (BAR_HEIGHT + GAP)
        x, width, line = MARGIN + LABEL_WIDTH, max(1, room * bar.value / greatest), y + 16
        parts.append(
            f'<text x="{MARGIN}" y="{line}">{escape(bar.label)}</text>'
            f'<rect class="{bar.kind}" x="{x}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="3"/>'
            f'<text x="{x + width + 8:.1f}" y="{line}">{_value(bar)}</text>'
        )
    return "".join(parts)


def _value(bar: Bar) -> str:
    quiet = f' <tspan class="quiet">{escape(bar.note)}</tspan>' if bar.note else ""
    return f"{bar.value:,.0f}{quiet}"


def _described(panel: Panel) -> str:
    values = ", ".join(f"{bar.label} {bar.value:,.0f}" for bar in panel.bars)
    return f"{panel.title}: {values}."
