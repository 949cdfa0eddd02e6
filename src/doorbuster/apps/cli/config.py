"""config get, set, history, rollback, watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from doorbuster.apps.cli.options import OPERATOR, Config, Data, Database, Json, answer, in_shop, say, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doorbuster.apps.shop import Shop
    from doorbuster.platform.settings.config_store import Change

app = typer.Typer(help="Settings that change while the shop runs.", no_args_is_help=True)
Why = Annotated[str, typer.Option("--why", help="The reason, which stays in the history.")]
TRIES_MAX = 5
"""How often a field is set again on top of what others have changed in the meantime."""
PAGE = 100


@app.command()
def get(
    key: Annotated[str | None, typer.Argument(help="One group of settings. [default: all]")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show settings: what is stored, what is rolled out, and what does not fit."""
    from doorbuster.apps.cli.config_words import setting_words
    from doorbuster.contexts.configuration.views import SettingView

    async def use(shop: Shop) -> tuple[int, list[SettingView]]:
        service = shop.configuration.service
        if key is not None:
            version, group = await service.group(OPERATOR, key)
            return version, [SettingView.of(group)]
        overview = await service.overview(OPERATOR)
        return overview.version, [SettingView.of(group) for group in overview.groups]

    version, items = in_shop(settings_of(config, data, database), use)
    words = "\n".join([f"version {version}", *(setting_words(item) for item in items)])
    answer({"ok": True, "version": version, "items": items}, json, words)


@app.command(name="set")
def set_settings(
    why: Why,
    assignments: Annotated[
        list[str] | None, typer.Argument(metavar="KEY.FIELD=VALUE...", help="JSON values; other texts are strings.")
    ] = None,
    reset: Annotated[list[str] | None, typer.Option(help="A key, or key.field, that gets its default back.")] = None,
    percent: Annotated[float | None, typer.Option(min=0, max=100, help="Only for so many callers.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only for callers and servers with this label.")] = None,
    expect: Annotated[int | None, typer.Option(min=0, help="Refuse if the version is another one.")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Change settings of a running shop: all of them or none. Running servers follow within a second."""
    from doorbuster.apps.cli.config_wishes import wishes_of
    from doorbuster.contracts.configuration import SettingsChanged

    async def once(shop: Shop) -> Change:
        overview = await shop.configuration.service.overview(OPERATOR)
        stored = {group.name: group.entry for group in overview.groups if group.entry is not None}
        wishes = wishes_of(assignments or [], reset or [], stored, percent, label or [])
        version = overview.version if expect is None else expect
        return await shop.configuration.service.change(OPERATOR, version, why, wishes)

    async def use(shop: Shop) -> Change:
        for _ in range(TRIES_MAX - 1):
            try:
                return await once(shop)
            except SettingsChanged:
                if expect is not None:
                    raise
        return await once(shop)

    _answer_changes([in_shop(settings_of(config, data, database), use)], json)


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=PAGE)] = 20,
    before: Annotated[int | None, typer.Option(min=1, help="Only versions below this one.")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show who changed what, when and why, newest first."""

    async def use(shop: Shop) -> Sequence[Change]:
        return (await shop.configuration.service.history(OPERATOR, before, limit)).items

    changes = in_shop(settings_of(config, data, database), use)
    views = _views(changes)
    answer({"ok": True, "changes": views}, json, "\n".join(map(_words, views)) or "nothing was ever changed")


@app.command()
def rollback(
    why: Why,
    to: Annotated[int | None, typer.Option(min=0, help="The version to go back to. [default: undo the last]")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Go back to an earlier version; that is a change like any other."""

    async def use(shop: Shop) -> Change:
        service = shop.configuration.service
        return await service.roll_back(OPERATOR, (await service.load()).version, to, why)

    _answer_changes([in_shop(settings_of(config, data, database), use)], json)


@app.command()
def watch(
    after: Annotated[int | None, typer.Option(min=0, help="Begin behind this version. [default: now]")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many changes.")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print each change as one JSON object.")] = False,
) -> None:
    """Print changes as they are made, until Ctrl-C."""

    async def use(shop: Shop) -> None:
        service = shop.configuration.service
        version = (await service.load()).version if after is None else after
        say(f"watching behind version {version}")
        left = count
        while left is None or left > 0:
            changes = (await service.changes_after(OPERATOR, version, PAGE))[:left]
            for change in changes:
                _answer_changes([change], json)
                version = change.version
            left = None if left is None else left - len(changes)
            if not changes:
                await service.newer_than(version)

    in_shop(settings_of(config, data, database), use)


def _views(changes: Sequence[Change]) -> list[Any]:
    from doorbuster.contexts.configuration.views import ChangeView

    return [ChangeView.of(change) for change in changes]


def _words(view: Any) -> str:
    from doorbuster.apps.cli.config_words import change_words

    return change_words(view)


def _answer_changes(changes: Sequence[Change], as_json: bool) -> None:
    import msgspec

    for view in _views(changes):
        answer({"ok": True, **msgspec.to_builtins(view)}, as_json, _words(view))
