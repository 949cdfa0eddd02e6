"""stock receive, write-off, show."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doorbuster.apps.cli.options import OPERATOR, Config, Data, Database, Json, answer, in_shop, settings_of
from doorbuster.kernel.ids import parse_id

if TYPE_CHECKING:
    from doorbuster.apps.shop import Shop

app = typer.Typer(help="What lies in the warehouses.", no_args_is_help=True)
Sku = Annotated[str, typer.Option("--sku", help="The id of the SKU (see: GET /v1/products).")]
Units = Annotated[int, typer.Option("--units", min=1)]
Key = Annotated[str | None, typer.Option(help="Idempotency key: repeating the command moves the units once.")]


@app.command()
def receive(
    sku: Sku,
    units: Units,
    key: Key = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Receive units into the default warehouse of the SKU's merchant."""

    async def use(shop: Shop) -> dict[str, Any]:
        await shop.inventory.service.receive(OPERATOR, _key(key), _lines(sku, units))
        return await _shown(shop, sku)

    result = in_shop(settings_of(config, data, database), use)
    answer(result, json, _words(result))


@app.command(name="write-off")
def write_off(
    sku: Sku,
    units: Units,
    key: Key = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Write units off that are broken or gone, and promised to nobody."""

    async def use(shop: Shop) -> dict[str, Any]:
        await shop.inventory.service.write_off(OPERATOR, _key(key), _lines(sku, units))
        return await _shown(shop, sku)

    result = in_shop(settings_of(config, data, database), use)
    answer(result, json, _words(result))


@app.command()
def show(sku: Sku, data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Show how many units may be had now."""

    async def use(shop: Shop) -> dict[str, Any]:
        await shop.catalog.service.sku(parse_id(sku))
        return await _shown(shop, sku)

    result = in_shop(settings_of(config, data, database), use)
    answer(result, json, _words(result))


def _key(given: str | None) -> str:
    return given or secrets.token_hex(8)


def _lines(sku: str, units: int) -> list[Any]:
    from doorbuster.contracts.inventory import SkuUnits

    return [SkuUnits(parse_id(sku), units)]


async def _shown(shop: Shop, sku: str) -> dict[str, Any]:
    sku_id = parse_id(sku)
    available = await shop.inventory.service.available([sku_id])
    return {"ok": True, "sku_id": str(sku_id), "available": available[sku_id]}


def _words(shown: dict[str, Any]) -> str:
    return f"{shown['available']} units of SKU {shown['sku_id']} are available"
