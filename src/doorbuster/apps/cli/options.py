"""Options that commands share, and the way results are printed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from doorbuster.kernel.principal import Principal

if TYPE_CHECKING:
    from doorbuster.apps.shop import Shop
    from doorbuster.platform.settings.tree import Settings

T = TypeVar("T")

OPERATOR = Principal(0, "admin")
"""Who acts on the command line: whoever can read the data folder or knows the database's password."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Data = Annotated[str | None, typer.Option(help="The data folder of the embedded stores. [default: data]")]
Database = Annotated[
    str | None, typer.Option(help="postgresql://user:password@host:port/database instead of the embedded stores.")
]
Config = Annotated[Path | None, typer.Option(help="A settings file. [default: doorbuster.toml, if there is one]")]


def settings_of(config: Path | None, data: str | None, database: str | None, **more: object) -> Settings:
    """The settings tree with what the command line says on top. Raises WrongSetting."""
    from doorbuster.platform.settings.sources import load_settings

    overrides = {"data": data, "database.url": database, **more}
    return load_settings(config, overrides=overrides)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs to the end on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def in_shop(settings: Settings, use: Callable[[Shop], Coroutine[Any, Any, T]]) -> T:
    """Runs a use case on the shop's own databases, whether or not a server is running on them."""
    from doorbuster.apps.shop import open_shop
    from doorbuster.platform.sql.workers import LeaseLost
    from doorbuster.platform.telemetry.logs import configure_logs

    configure_logs("warning", "command", settings.process.log_json)

    async def work() -> T:
        async with open_shop(settings) as shop:
            keeping = asyncio.create_task(shop.lease.keep())  # a long import outlives a lease
            try:
                return await use(shop)
            finally:
                keeping.cancel()
                with contextlib.suppress(asyncio.CancelledError, LeaseLost):  # ids refuse themselves without it
                    await keeping

    return run(work())


def say(words: str) -> None:
    """Something for people, on standard error so that standard output stays one JSON object."""
    print(words, file=sys.stderr, flush=True)


def answer(result: Any, as_json: bool, words: str) -> None:
    """The result: a JSON object, or words."""
    import msgspec

    print(msgspec.json.encode(result).decode() if as_json else words, flush=True)
