"""serve, migrate, audit, rotate-secrets."""

from __future__ import annotations

from typing import Annotated

import typer

from doorbuster.apps.cli.options import Config, Data, Database, Json, answer, in_shop, run, settings_of

Host = Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 chooses a free one. [default: 8000]")]


def register(app: typer.Typer) -> None:
    app.command()(serve)
    app.command(name="migrate")(migrate_command)
    app.command()(audit)
    app.command(name="rotate-secrets")(rotate_secrets)


def serve(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    simulator: Annotated[str | None, typer.Option(help="Base address of a payment simulator.")] = None,
    back_room: Annotated[bool | None, typer.Option(help="Consumers and deadlines in a second process.")] = None,
    announce: Annotated[
        bool, typer.Option("--json", help='Print {"base_url": ...} on standard output when ready.')
    ] = False,
) -> None:
    """Open the shop: HTTP API, event relays and deadlines, until SIGTERM or Ctrl-C."""
    from doorbuster.apps.serve import run as run_server
    from doorbuster.platform.telemetry.logs import configure_logs

    settings = settings_of(
        config,
        data,
        database,
        **{
            "http.host": host,
            "http.port": port,
            "payments.simulator_url": simulator,
            "process.back_room": back_room,
        },
    )
    configure_logs(settings.process.log_level, "door", settings.process.log_json)
    run_server(settings, announce)


def migrate_command(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Bring the database up to this version. Safe to repeat, and from several machines at once."""
    from doorbuster.apps.shop import migrate_all

    applied = run(migrate_all(settings_of(config, data, database)))
    count = sum(len(names) for names in applied.values())
    words = "\n".join(f"{context}: {', '.join(names)}" for context, names in applied.items() if names)
    answer({"ok": True, "applied": applied}, json, words or f"nothing to do ({count} applied)")


def audit(
    data: Data = None,
    database: Database = None,
    config: Config = None,
    simulator: Annotated[str | None, typer.Option(help="Base address of the payment simulator.")] = None,
    json: Json = False,
) -> None:
    """Prove stock, orders and money on a live system. Exit status 1 if anything is broken."""
    from doorbuster.apps.proof import audit_shop
    from doorbuster.lab.audit.render import render

    settings = settings_of(config, data, database, **{"payments.simulator_url": simulator})
    report = in_shop(settings, audit_shop)
    answer(report.as_json(), json, render(report))
    if not report.ok:
        raise typer.Exit(1)


def rotate_secrets(data: Data = None, config: Config = None, json: Json = False) -> None:
    """Put new signing keys and webhook secrets first; the previous ones stay valid until the next rotation."""
    from doorbuster.platform.settings.secrets import rotate

    renewed = rotate(settings_of(config, data, None))
    ids = [key.id for key in renewed.signing_keys()]
    answer({"ok": True, "key_ids": ids}, json, f"signing keys: {', '.join(ids)}. Restart the servers to use them.")
