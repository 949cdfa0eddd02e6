"""events dead, events replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from doorbuster.apps.cli.options import Config, Data, Database, Json, answer, in_shop, settings_of

if TYPE_CHECKING:
    from doorbuster.apps.shop import Shop

app = typer.Typer(help="Events that could not be handled.", no_args_is_help=True)


@app.command()
def dead(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """List dead events, at most 500 of each context."""

    async def use(shop: Shop) -> list[dict[str, Any]]:
        from doorbuster.kernel.clock import rfc3339
        from doorbuster.platform.bus.consumer import dead_letters

        return [
            {
                "context": context.name,
                "consumer": row.consumer,
                "seq": row.seq,
                "type": row.type,
                "at": rfc3339(row.at_ms),
                "attempts": row.attempts,
                "error": row.error,
            }
            for context in shop.contexts
            for row in await context.database.read(dead_letters)
        ]

    found = in_shop(settings_of(config, data, database), use)
    words = "\n".join(f"{event['consumer']} {event['seq']} {event['type']}: {event['error']}" for event in found)
    answer({"ok": not found, "dead": found}, json, words or "no dead events")


@app.command()
def replay(
    consumer: Annotated[str | None, typer.Option(help="Only events of this consumer.")] = None,
    seq: Annotated[int | None, typer.Option(help="Only this event.")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Give dead events another life: the running server tries them again."""
    if seq is not None and consumer is None:
        raise typer.BadParameter("events are numbered per consumer: give --consumer too", param_hint="--seq")

    async def use(shop: Shop) -> int:
        from doorbuster.platform.bus.consumer import replay as revive

        revived = 0
        for context in shop.contexts:
            revived += await context.database.write(lambda tx: revive(tx, consumer, seq))
        return revived

    revived = in_shop(settings_of(config, data, database), use)
    answer({"ok": True, "replayed": revived}, json, f"{revived} events will be tried again")
