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
        from doorbuster.kernel.cause import cause_in
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
                "request_id": cause and cause.request_id,
                "trace_id": cause and cause.trace_id,
            }
            for context in shop.contexts
            for row in await context.database.read(dead_letters)
            for cause in (cause_in(row.cause),)
        ]

    found = in_shop(settings_of(config, data, database), use)
    answer({"ok": not found, "dead": found}, json, "\n".join(map(_line, found)) or "no dead events")


def _line(event: dict[str, Any]) -> str:
    request = f" (request {event['request_id']})" if event["request_id"] else ""
    return f"{event['consumer']} {event['seq']} {event['type']}{request}: {event['error']}"


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
