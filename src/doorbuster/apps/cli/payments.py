"""payments reconcile."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doorbuster.apps.cli.options import Config, Data, Database, Json, answer, in_shop, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doorbuster.apps.shop import Shop
    from doorbuster.contexts.payments.differences import Reconciliation

app = typer.Typer(help="Money and its provider.", no_args_is_help=True)


@app.callback()
def payments() -> None:
    """Money and its provider."""


@app.command()
def reconcile(
    day: Annotated[str | None, typer.Option(help="A day in UTC, YYYY-MM-DD. [default: yesterday]")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    simulator: Annotated[str | None, typer.Option(help="Base address of the payment simulator.")] = None,
    json: Json = False,
) -> None:
    """Compare the provider's statement of a day with our ledger. Exit status 1 if a difference has no explanation."""
    begins_ms = None if day is None else _midnight_ms(day)
    settings = settings_of(config, data, database, **{"payments.simulator_url": simulator})

    async def use(shop: Shop) -> Sequence[Reconciliation]:
        return await shop.payments.service.reconcile(begins_ms)

    made = in_shop(settings, use)
    ok = all(reconciliation.ok for reconciliation in made)
    answer({"ok": ok, "reconciliations": [_as_json(one) for one in made]}, json, _in_words(made))
    if not ok:
        raise typer.Exit(1)


def _midnight_ms(day: str) -> int:
    try:
        return round(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise typer.BadParameter(f"{day!r} is not a day like 2026-01-31", param_hint="--day") from error


def _as_json(made: Reconciliation) -> dict[str, Any]:
    import msgspec

    return {"ok": made.ok, "day": _day(made), **msgspec.to_builtins(made), "id": str(made.id)}


def _day(made: Reconciliation) -> str:
    return f"{datetime.fromtimestamp(made.from_ms / 1000, UTC):%Y-%m-%d}"


def _in_words(reconciliations: Sequence[Reconciliation]) -> str:
    if not reconciliations:
        return "no payment provider is connected"
    lines: list[str] = []
    for made in reconciliations:
        lines.append(
            f"{_day(made)} {made.provider}: {made.statement_lines} lines there, {made.ledger_lines} here, "
            f"{made.matched} match, {made.explained} explained, {made.unexplained} unexplained"
        )
        lines += [
            f"  {'      ' if one.explained else 'BROKEN'} {one.kind}: {one.movement} of payment {one.payment_id}"
            f"{f', refund {one.refund_id}' if one.refund_id else ''}: {one.words}"
            for one in made.differences
        ]
    return "\n".join(lines)
