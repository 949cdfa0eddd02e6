"""Each optional part is killed in turn under a real server on PostgreSQL: a guest's checkout still ends in an order
that is paid."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import Struct

from doorbuster.lab.bench.shopper import Shopper, no_times
from doorbuster.lab.demo.shop_process import ShopProcess, shop_process
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Pool
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import Settings
from redis_server import RedisServer, start_redis

UNTIL_S = 60.0


class Street(Struct):
    """A shop with everything optional in use, and what it stands on."""

    shop: ShopProcess
    pool: Pool
    database_url: str
    redis: RedisServer
    sku_id: str
    stack: AsyncExitStack

    async def buys(self) -> str:
        """A guest buys; the order's id, once its page says that it is paid."""
        shopper = Shopper(self.pool, self.sku_id, no_times())
        await shopper.check_out()
        async with asyncio.timeout(UNTIL_S):
            while await shopper.status() != "paid":
                await asyncio.sleep(0.05)
        return shopper.order_id

    async def row(self, sql: str, *values: object) -> Any:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetchval(sql, *values)
        finally:
            await connection.close()

    async def stall(self, context: str) -> None:
        """From now on nothing can be written to this context's tables: who tries waits.

        Not ACCESS EXCLUSIVE: that would give our transaction a number, and relays pass no number that is under way.
        """
        connection = await asyncpg.connect(self.database_url)
        self.stack.push_async_callback(connection.close)
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename <> 'schema_version'", context
        )
        await connection.execute("BEGIN")
        names = ", ".join(f'"{context}"."{row[0]}"' for row in tables)
        await connection.execute(f"LOCK TABLE {names} IN EXCLUSIVE MODE")

    def back_room(self) -> int:
        """The process id of the server's child; 0 while there is none."""
        pid = self.shop.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        named = (int(each) for each in children if b"back_room" in Path(f"/proc/{each}/cmdline").read_bytes())
        return next(named, 0)

    async def new_back_room(self) -> int:
        """The one that the door started after the last had died."""
        async with asyncio.timeout(UNTIL_S):
            while not (found := self.back_room()):
                await asyncio.sleep(0.05)
        return found


def dead_port() -> int:
    """Nobody listens there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def street(database_url: str, folder: Path) -> AsyncIterator[Street]:
    redis = start_redis()
    environment = {
        "DOORBUSTER_DATABASE_URL": database_url,
        "DOORBUSTER_DATABASE_POOL_SIZE": "2",
        "DOORBUSTER_PROCESS_LOG_LEVEL": "warning",
        "DOORBUSTER_INVENTORY_STRATEGY": "redis_lua",
        "DOORBUSTER_REDIS_URL": redis.url,
        "DOORBUSTER_NOTIFICATIONS_SMTP_HOST": "127.0.0.1",
        "DOORBUSTER_NOTIFICATIONS_SMTP_PORT": str(dead_port()),
        "DOORBUSTER_NOTIFICATIONS_SMTP_TLS": "none",
        "DOORBUSTER_NOTIFICATIONS_MAIL_FROM": "shop@shop.example",
        "DOORBUSTER_NOTIFICATIONS_WECOM_URL": f"http://127.0.0.1:{dead_port()}/robot",
    }
    async with AsyncExitStack() as stack:
        stack.callback(redis.stop)
        migrating = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "doorbuster", "migrate", "--data", str(folder)),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await migrating.wait() == 0
        secrets = load_secrets(Settings(data=str(folder))).webhook_secrets
        provider = stack.enter_context(
            SimulatorProcess(folder / "provider.sqlite", secrets=secrets, arguments=("--webhooks", "off"))
        )
        shop = await stack.enter_async_context(
            shop_process(folder, provider.base_url, folder / "serve.log", environment=environment)
        )
        await shop.command("import", "--sample", "--stock", "1000")
        pool = await stack.enter_async_context(Pool(shop.base_url))
        products = (await pool.request("GET", "/v1/products?limit=1")).json(dict[str, Any])["items"]
        yield Street(shop, pool, database_url, redis, products[0]["skus"][0]["id"], stack)


Kill = Callable[[Street], Awaitable[None]]


async def nothing(_street: Street) -> None:
    """Mail server and robot have been dead from the beginning."""


async def redis_hangs(street: Street) -> None:
    assert street.redis.pid is not None
    os.kill(street.redis.pid, signal.SIGSTOP)


async def redis_dies(street: Street) -> None:
    street.redis.stop()


async def support_stalls(street: Street) -> None:
    await street.stall("support")


async def delivery_stalls(street: Street) -> None:
    await street.stall("delivery")


async def notifications_stall(street: Street) -> None:
    await street.stall("notifications")


async def the_back_room_dies(street: Street) -> None:
    os.kill(await street.new_back_room(), signal.SIGKILL)


async def the_back_room_stands_still(street: Street) -> None:
    """Buying and paying go on meanwhile; that the order is paid is shown when it goes on."""
    back_room = await street.new_back_room()
    os.kill(back_room, signal.SIGSTOP)
    shopper = Shopper(street.pool, street.sku_id, no_times())
    await shopper.check_out()
    captured = "SELECT status FROM payments.payments WHERE order_id = $1"
    assert await street.row(captured, int(shopper.order_id)) == "captured"
    os.kill(back_room, signal.SIGCONT)
    async with asyncio.timeout(UNTIL_S):
        while await shopper.status() != "paid":
            await asyncio.sleep(0.05)


KILLS: tuple[Kill, ...] = (
    nothing,
    redis_hangs,
    redis_dies,
    support_stalls,
    delivery_stalls,
    notifications_stall,
    the_back_room_dies,
)


@pytest.mark.timeout(600)
async def test_checkout_still_succeeds(postgres_url: str, tmp_path: Path):
    """They die one after the other and stay dead, but for the back room."""
    async with street(postgres_url, tmp_path) as shop:
        bought: list[str] = []
        for kill in KILLS:
            await kill(shop)
            bought += [await shop.buys() for _ in range(2)]
        statuses = [
            await shop.row("SELECT status FROM payments.payments WHERE order_id = $1", int(order)) for order in bought
        ]
        assert statuses == ["captured"] * 2 * len(KILLS)
        sold = await shop.row("SELECT count(*) FROM orders.orders WHERE status = 'paid'")
        assert sold == 2 * len(KILLS)
        await the_back_room_stands_still(shop)
