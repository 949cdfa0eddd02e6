"""The demo's verdict: what was promised, what was kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from msgspec import Struct
from rich.console import Console

from doorbuster.lab.stampede import Pool, Verification

STATEMENT_PAGE = 500
STATEMENT_PAGES_MAX = 10_000


class Verdict(Struct, frozen=True):
    """`sold` counts units of orders that are paid in the end; `captures` is the provider's own count."""

    ok: bool
    units: int
    sold: int
    oversold: int
    lost: int
    captures: int
    paid_orders: int
    phantom: int
    unknown: int
    orders_by_status: Mapping[str, int]
    audit_ok: bool
    seconds: float

    @classmethod
    def of(
        cls,
        units: int,
        orders_by_status: Mapping[str, int],
        verification: Verification,
        captures: int,
        audit: Mapping[str, Any],
        seconds: float,
    ) -> Verdict:
        paid = orders_by_status.get("paid", 0)
        ok = verification.ok and bool(audit["ok"]) and paid == units == captures and verification.oversold == 0
        return cls(
            ok=ok,
            units=units,
            sold=paid,
            oversold=verification.oversold,
            lost=verification.lost,
            captures=captures,
            paid_orders=paid,
            phantom=verification.phantom,
            unknown=verification.unknown,
            orders_by_status=dict(orders_by_status),
            audit_ok=bool(audit["ok"]),
            seconds=round(seconds, 1),
        )


async def captured_at_provider(simulator_url: str) -> int:
    """Captures minus whole refunds, counted from the provider's own statement."""
    captures, cursor = 0, ""
    async with Pool(simulator_url) as provider:
        for _ in range(STATEMENT_PAGES_MAX):
            after = f"&after={quote(cursor)}" if cursor else ""
            page = await provider.request("GET", f"/v1/statement?limit={STATEMENT_PAGE}{after}")
            answer = page.json(dict[str, Any])
            captures += sum(1 if item["kind"] == "capture" else -1 for item in answer["items"])
            if not answer["next_cursor"]:
                break
            cursor = answer["next_cursor"]
    return captures


def print_verdict(console: Console, verdict: Verdict, audit: Mapping[str, Any]) -> None:
    for check in audit["checks"]:
        sign = "[green]✓[/]" if check["ok"] else "[red]✗[/]"
        console.print(f"  {sign} {check['name']:<42} {check['detail']}")
        for breach in check.get("breaches", []):
            console.print(f"      {breach}")
    lines = (
        ("units sold", f"{verdict.sold} of {verdict.units}", verdict.sold == verdict.units),
        ("oversold", verdict.oversold, verdict.oversold == 0),
        ("acknowledged claims lost", verdict.lost, verdict.lost == 0),
        (
            "captures = paid orders",
            f"{verdict.captures} = {verdict.paid_orders}",
            verdict.captures == verdict.paid_orders,
        ),
        ("audit", "everything holds" if verdict.audit_ok else "broken", verdict.audit_ok),
    )
    console.print()
    for name, value, good in lines:
        console.print(f"  {'[green]✓[/]' if good else '[red]✗[/]'} [bold]{name:<42}[/] {value}")
    console.print(f"\n  [bold]{'PROVEN' if verdict.ok else 'NOT PROVEN'}[/] in {verdict.seconds} s")
