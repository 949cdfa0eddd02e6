"""The demo's verdict: what was promised, what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.markup import escape

from doorbuster.lab.demo.door.outcome import MEASURED, Door, Line, lines_of
from doorbuster.lab.demo.life import Life
from doorbuster.lab.stampede import Verification

WIDTH = 49
"""Of the longest name of a check that is shown in a column."""


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
    life: Life
    door: Door | None
    """None: that act was not played."""
    seconds: float

    @classmethod
    def of(
        cls,
        units: int,
        orders_by_status: Mapping[str, int],
        verification: Verification,
        captures: int,
        audit: Mapping[str, Any],
        life: Life,
        seconds: float,
        door: Door | None,
    ) -> Verdict:
        paid = orders_by_status.get("paid", 0)
        sold = paid == units == captures and verification.ok and verification.oversold == 0
        held = door is None or door.ok
        return cls(
            ok=held and sold and life.ok and bool(audit["ok"]),
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
            life=life,
            door=door,
            seconds=round(seconds, 1),
        )


def print_verdict(console: Console, verdict: Verdict, audit: Mapping[str, Any]) -> None:
    """The audit line by line, then what the demo promised."""
    for check in audit["checks"]:
        _line(console, check["name"], check["detail"], check.get("breaches", ()), good=check["ok"])
    console.print()
    for name, value, wrong, good in (*_of_sale(verdict), *_of_life(verdict.life), *_of_door(verdict.door)):
        _line(console, name, value, wrong, good=good, style="bold")
    words = "everything holds" if verdict.audit_ok else "broken"
    _line(console, "audit", words, (), good=verdict.audit_ok, style="bold")
    console.print(f"\n  [bold]{'PROVEN' if verdict.ok else 'NOT PROVEN'}[/] in {verdict.seconds} s")


def _of_door(door: Door | None) -> Sequence[Line]:
    return () if door is None else lines_of(door)


def _of_sale(verdict: Verdict) -> Sequence[Line]:
    captures, paid = verdict.captures, verdict.paid_orders
    return (
        ("units sold", f"{verdict.sold} of {verdict.units}", (), verdict.sold == verdict.units),
        ("oversold", verdict.oversold, (), verdict.oversold == 0),
        ("acknowledged claims lost", verdict.lost, (), verdict.lost == 0),
        ("captures = paid orders", f"{captures} = {paid}", (), captures == paid),
    )


def _of_life(life: Life) -> Sequence[Line]:
    """What became of the orders of the second act."""
    ride, chat, told = life.delivery, life.support, life.notifications
    orders = ", ".join(f"{count} {status}" for status, count in sorted(life.orders.items())) or "none"
    offers = f"{ride.offers} exclusive offers, {ride.expired} expired"
    ways = f"{ride.positions_seen} of {ride.positions_sent} positions seen live"
    talk = f"{chat.kept} messages, {chat.lost} lost, {chat.twice} twice, over a broken connection"
    notices = f"{told.in_app} in the app, {told.email} by e-mail, {told.webhook} by webhook"
    counted = f"{told.missing} missing, {told.twice} twice, {told.forged} forged"
    shelf = "what was bought is gone, what came back is back" if not life.stock else "not as it should be"
    money = "order by order, less what was refunded" if not life.money else "not as it should be"
    return (
        ("orders ended as they should", orders, life.problems, life.orders_ok and not life.problems),
        ("goods on the shelf", shelf, life.stock, not life.stock),
        ("money at the provider", money, life.money, not life.money),
        ("delivery", f"{offers}; {ways}", (), ride.ok),
        ("support", talk, (), chat.ok),
        ("told once per event and channel", f"{notices}: {counted}", told.wrong, told.ok),
    )


def _line(console: Console, name: str, value: object, wrong: Sequence[str], *, good: bool, style: str = "none") -> None:
    sign = "[green]✓[/]" if good else "[yellow]![/]" if name in MEASURED else "[red]✗[/]"
    console.print(f"  {sign} [{style}]{escape(f'{name:<{WIDTH}}')}[/] {escape(str(value))}", soft_wrap=True)
    for words in wrong:
        console.print(f"      {escape(words)}", soft_wrap=True)
