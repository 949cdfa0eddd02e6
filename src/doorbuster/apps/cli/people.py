"""buyers create, staff create."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doorbuster.apps.cli.options import Config, Data, Database, Json, answer, in_shop, settings_of

if TYPE_CHECKING:
    from doorbuster.apps.shop import Shop
    from doorbuster.contracts.accounts import Account

buyers_app = typer.Typer(help="Buyers for load tests and demos.", no_args_is_help=True)
staff_app = typer.Typer(help="People who work here.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(buyers_app, name="buyers")
    app.add_typer(staff_app, name="staff")


@buyers_app.callback()
@staff_app.callback()
def group() -> None:
    """Makes `create` a subcommand, although there is only one."""


@buyers_app.command("create")
def create_buyers(
    count: Annotated[int, typer.Argument(min=1, max=1_000_000)],
    out: Annotated[Path, typer.Option(help="Where ids and tokens are written, as JSON lines.")] = Path("buyers.jsonl"),
    hours: Annotated[int, typer.Option(min=1, max=24, help="How long the tokens are valid.")] = 4,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Create COUNT accounts without a password, and sign a token for each."""
    import msgspec

    from doorbuster.apps.private_file import private_file

    def line(buyer: object) -> bytes:
        return msgspec.json.encode(buyer) + b"\n"

    async def use(shop: Shop) -> int:
        buyers = await shop.accounts.service.create_buyers(count, hours * 3600)
        with private_file(out) as file:
            file.writelines(line({"id": str(buyer.id), "token": buyer.token}) for buyer in buyers)
        return len(buyers)

    made = in_shop(settings_of(config, data, database), use)
    answer({"ok": True, "created": made, "file": str(out)}, json, f"{made} buyers in {out}")


@staff_app.command("create")
def create_staff(
    email: str,
    role: Annotated[str, typer.Option(help="admin, merchant, support or courier")] = "admin",
    password: Annotated[
        str, typer.Option(envvar="DOORBUSTER_STAFF_PASSWORD", prompt=True, hide_input=True, help="At least 10 signs.")
    ] = ...,  # type: ignore[assignment]  # typer's way to say: required
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Create an account with a role, or give an existing one that role and password."""
    from doorbuster.kernel.principal import ACCOUNT_ROLES

    if role not in ACCOUNT_ROLES:
        raise typer.BadParameter(f"one of {', '.join(ACCOUNT_ROLES)}", param_hint="--role")

    async def use(shop: Shop) -> Account:
        return await shop.accounts.service.ensure_staff(email, password, role)

    account = in_shop(settings_of(config, data, database), use)
    result = {"ok": True, "id": str(account.id), "email": account.email, "role": account.role}
    answer(result, json, f"{account.role} {account.email} has the id {account.id}")
