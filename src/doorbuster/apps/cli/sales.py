"""sale create, open, close, show."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doorbuster.apps.cli.options import OPERATOR, Config, Data, Database, Json, answer, in_shop, settings_of
from doorbuster.kernel.clock import parse_rfc3339, rfc3339
from doorbuster.kernel.ids import parse_id

if TYPE_CHECKING:
    from doorbuster.apps.shop import Shop
    from doorbuster.contexts.flash_sale.model import Sale

app = typer.Typer(help="Flash sales.", no_args_is_help=True)
SaleId = Annotated[str, typer.Argument(help="The id of the sale.")]


@app.command()
def create(
    sku: Annotated[str, typer.Argument(help="The id of the SKU (see: GET /v1/products).")],
    units: Annotated[int, typer.Option(min=1)],
    price: Annotated[int, typer.Option(min=1, help="Per unit, in minor units of the SKU's currency.")],
    limit: Annotated[int, typer.Option(min=1, help="Units per customer, over the whole sale.")] = 1,
    opens: Annotated[str | None, typer.Option(help="RFC 3339. [default: in --opens-in-s]")] = None,
    opens_in_s: Annotated[int, typer.Option(min=0)] = 60,
    open_for_s: Annotated[int, typer.Option(min=1)] = 3600,
    pay_within_s: Annotated[int, typer.Option(min=1, help="How long a claim waits for its payment.")] = 900,
    key: Annotated[str | None, typer.Option(help="Idempotency key: repeating the command makes one sale.")] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Schedule a sale."""
    from doorbuster.contracts.flash_sale import SaleProposal
    from doorbuster.kernel.money import Money

    async def use(shop: Shop) -> dict[str, Any]:
        now_ms = shop.platform.clock.now_ms()
        try:
            opens_ms = parse_rfc3339(opens) if opens else now_ms + opens_in_s * 1000
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--opens") from error
        sku_id = parse_id(sku)
        currency = (await shop.catalog.service.sku(sku_id)).price.currency
        proposal = SaleProposal(
            sku_id, units, Money(price, currency), limit, opens_ms, opens_ms + open_for_s * 1000, pay_within_s * 1000
        )
        sale = await shop.flash_sale.service.create_sale(OPERATOR, key or secrets.token_hex(8), proposal)
        return _shown(sale, now_ms)

    result = in_shop(settings_of(config, data, database), use)
    answer(result, json, _words(result))


@app.command(name="open")
def open_sale(
    sale: SaleId, data: Data = None, database: Database = None, config: Config = None, json: Json = False
) -> None:
    """Open a scheduled sale now."""

    async def use(shop: Shop) -> dict[str, Any]:
        opened = await shop.flash_sale.service.open_sale(OPERATOR, parse_id(sale))
        return _shown(opened, shop.platform.clock.now_ms())

    result = in_shop(settings_of(config, data, database), use)
    answer(result, json, _words(result))


@app.command()
def close(
    sale: SaleId, data: Data = None, database: Database = None, config: Config = None, json: Json = False
) -> None:
    """Close a sale now. What is claimed stays claimed."""

    async def use(shop: Shop) -> dict[str, Any]:
        closed = await shop.flash_sale.service.close_sale(OPERATOR, parse_id(sale))
        return _shown(closed, shop.platform.clock.now_ms())

    result = in_shop(settings_of(config, data, database), use)
    answer(result, json, _words(result))


@app.command()
def show(sale: SaleId, data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Show a sale as it stands."""

    async def use(shop: Shop) -> dict[str, Any]:
        from doorbuster.contexts.flash_sale.model import Sale

        view = await shop.flash_sale.service.sale(parse_id(sale))
        return _shown(Sale(view.terms, view.allotment), shop.platform.clock.now_ms())

    result = in_shop(settings_of(config, data, database), use)
    answer(result, json, _words(result))


def _shown(sale: Sale, now_ms: int) -> dict[str, Any]:
    terms, allotment = sale.terms, sale.allotment
    return {
        "ok": True,
        "id": str(terms.sale_id),
        "title": terms.title,
        "state": allotment.state(now_ms),
        "units": allotment.units,
        "units_left": allotment.left,
        "price": {"amount": terms.price.amount, "currency": terms.price.currency},
        "limit_per_customer": terms.limit_per_customer,
        "opens_at": rfc3339(allotment.opens_ms),
        "closes_at": rfc3339(allotment.closes_ms),
        "pay_within_s": terms.pay_within_ms // 1000,
    }


def _words(shown: dict[str, Any]) -> str:
    return "\n".join(f"{name:>20}  {value}" for name, value in shown.items() if name != "ok")
