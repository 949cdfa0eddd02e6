"""The shop that is overloaded: a real `doorbuster serve` on SQLite with its back room, on a core of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.principal import Principal
from doorbuster.lab.bench.cores import running_on, split_cores
from doorbuster.lab.bench.shop_mix import Goods
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.demo.shop_process import ShopProcess, shop_process
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Pool
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import Settings

CUSTOMERS = 5_000
LIFETIME_S = 24 * 3600
SALE_UNITS = 1_000_000
STOCK = 10_000_000
LIMIT = 1_000
FOLLOWED_WITHIN_S = 1.5


@asynccontextmanager
async def overload_shop(stores: Stores) -> AsyncGenerator[tuple[ShopProcess, Goods]]:
    """The payment provider shares the generator's cores. Nobody is refused yet. Raises ShopFailed."""
    cores = split_cores()
    async with stores.fresh("sqlite") as settings, AsyncExitStack() as stack:
        if cores is not None:
            stack.enter_context(running_on(cores[1]))
        secrets = load_secrets(settings)
        simulator = stack.enter_context(
            SimulatorProcess(
                settings.folder / "provider.sqlite", secrets=secrets.webhook_secrets, arguments=("--webhooks", "off")
            )
        )
        environment = {"DOORBUSTER_PROCESS_LOG_LEVEL": "error"}
        with running_on(None if cores is None else cores[0]):
            shop = await stack.enter_async_context(
                shop_process(
                    settings.folder, simulator.base_url, settings.folder / "serve.log", environment=environment
                )
            )
        await set_shedding(shop, {"enabled": False})
        goods = await _goods(shop, settings)
        yield shop, goods


async def set_shedding(shop: ShopProcess, settings: Mapping[str, Any]) -> None:
    """The running server follows within a second."""
    words = [f"shedding.{name}={msgspec.json.encode(value).decode()}" for name, value in settings.items()]
    await shop.command("config", "set", *words, "--why", "bench overload")
    await asyncio.sleep(FOLLOWED_WITHIN_S)


async def _goods(shop: ShopProcess, settings: Settings) -> Goods:
    await shop.command("import", "--sample", "--stock", str(STOCK))
    async with Pool(shop.base_url) as pool:
        products = (await pool.request("GET", "/v1/products?limit=100")).json(dict[str, Any])["items"]
    sku = products[0]["skus"][0]
    sale = await shop.command(
        *("sale", "create", sku["id"], "--units", str(SALE_UNITS), "--price", str(sku["price"]["amount"])),
        *("--limit", str(LIMIT), "--opens-in-s", "0"),
    )
    clock = SystemClock()
    ids, ring = Snowflake(clock, worker=0), KeyRing(load_secrets(settings).signing_keys(), clock)
    return Goods(
        product_ids=[product["id"] for product in products],
        sku_ids=[sku["id"] for product in products for sku in product["skus"]],
        sale_id=sale["id"],
        customers=[ring.sign(Principal(ids.next_owner(), "customer"), LIFETIME_S) for _ in range(CUSTOMERS)],
        staff=ring.sign(Principal(ids.next_owner(), "admin"), LIFETIME_S),
    )
