"""Redis, one server or a cluster, flushed, filled, stopped and killed in the middle of a sale where everything that can
uses it: limits, the catalogue's copies, holds of stock. Nothing is oversold, and half of the visitors at least get what
they came for."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from doorbuster.contexts.inventory.deduction.scripted import STOCK
from doorbuster.lab.bench.shopper import Refused, Shopper, no_times
from doorbuster.lab.demo.shop_process import ShopProcess, shop_process
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import NoAnswerError, Pool
from doorbuster.lab.stampede.buyers import load_buyers
from doorbuster.platform.redis import Redis
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import Settings
from redis_cluster import Cluster, first_master_of
from redis_server import RedisServer, start_redis

VISITORS, PACE_S = 20, 0.15
"""Of each phase, and the time between two of them: less than two cores carry, so that what fails is Redis' fault."""
IN_TIME_MS = b"5000"
OF_STOCK = first_master_of(STOCK)
UNITS, ORDINARY_UNITS = 70, 60
"""Fewer than the visitors of all phases: also towards the end, with Redis in trouble, no unit is sold twice."""
ORDERED = (
    "SELECT coalesce(sum(l.quantity), 0) FROM inventory.hold_lines l JOIN inventory.holds h USING (order_id) "
    "WHERE l.sku_id = $1 AND h.status IN ('held', 'sold')"
)
GATEWAY = [
    'gateway={"plugins": [{"type": "authentication"}, {"type": "rate-limit", "limiter": "claims", "by": "user"},'
    ' {"type": "rate-limit", "limiter": "browsing", "by": "path"}]}',
    "limits.browsing.limit=10000",
    "limits.browsing.burst=10000",
]


class Sale:
    def __init__(self, shop: ShopProcess, pool: Pool, redis: RedisServer | Cluster, tokens: list[str]) -> None:
        self.shop, self.pool, self.redis, self.tokens = shop, pool, redis, tokens
        self.sale_id = self.product_id = self.ordinary_sku = ""
        self.answers: Counter[str] = Counter()

    async def ask(self, method: str, path: str, token: str, body: object = None) -> tuple[int, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Request-Timeout-Ms": IN_TIME_MS.decode(),
        }
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        answer = await self.pool.request(method, path, headers, b"" if body is None else msgspec.json.encode(body))
        return answer.status, answer.json(dict[str, Any])

    async def redis_says(self, *words: str) -> None:
        client = Redis(self.redis.url)
        await client.everywhere(*words)
        await client.close()

    async def visit(self) -> bool:
        """Looks at the goods, claims, and orders something else: whether each was answered as in the best of times."""
        token = self.tokens.pop()
        try:
            async with asyncio.timeout(int(IN_TIME_MS) / 1000):
                looked, _ = await self.ask("GET", f"/v1/products/{self.product_id}", token)
                status, claimed = await self.ask("POST", f"/v1/sales/{self.sale_id}/claims", token, {"quantity": 1})
                self.answers[claimed.get("slug", "claimed")] += 1
                try:
                    await Shopper(self.pool, self.ordinary_sku, no_times()).check_out()
                    ordered = "ordered"
                except Refused as refusal:
                    ordered = str(refusal)
                self.answers[ordered] += 1
        except (TimeoutError, NoAnswerError):
            self.answers["nothing in time"] += 1
            return False
        well = looked == 200 and (status == 201 or claimed["slug"] == "sold-out")
        return well and ordered in ("ordered", "out-of-stock")

    async def phase(self, trouble: Callable[[Sale], Awaitable[None]]) -> float:
        """The share of visitors, coming at a steady pace, who got what they came for; trouble begins with the fifth."""
        visits: list[asyncio.Task[bool]] = []
        for number in range(VISITORS):
            if number == VISITORS // 4:
                await trouble(self)
            visits.append(asyncio.create_task(self.visit()))
            await asyncio.sleep(PACE_S)
        return sum(await asyncio.gather(*visits)) / VISITORS


async def nothing(_sale: Sale) -> None:
    """To know what is usual."""


async def flushed(sale: Sale) -> None:
    await sale.redis_says("FLUSHALL")


async def filled(sale: Sale) -> None:
    """Whatever would take memory is refused."""
    await sale.redis_says("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await sale.redis_says("CONFIG", "SET", "maxmemory", "1")


async def emptied_and_stopped(sale: Sale) -> None:
    await sale.redis_says("CONFIG", "SET", "maxmemory", "0")
    assert isinstance(sale.redis, RedisServer)
    os.kill(sale.redis.pid, signal.SIGSTOP)


async def awake_and_killed(sale: Sale) -> None:
    assert isinstance(sale.redis, RedisServer)
    os.kill(sale.redis.pid, signal.SIGCONT)
    sale.redis.stop()


async def a_master_is_killed(sale: Sale) -> None:
    """The one that has the stock's counters."""
    assert isinstance(sale.redis, Cluster)
    sale.redis.masters[OF_STOCK].stop()


async def another_hangs(sale: Sale) -> None:
    assert isinstance(sale.redis, Cluster)
    os.kill(sale.redis.masters[OF_STOCK - 1].pid, signal.SIGSTOP)


async def both_are_back(sale: Sale) -> None:
    assert isinstance(sale.redis, Cluster)
    os.kill(sale.redis.masters[OF_STOCK - 1].pid, signal.SIGCONT)
    sale.redis.start(OF_STOCK)


Phases = tuple[Callable[[Sale], Awaitable[None]], ...]
ON_ONE: Phases = (nothing, flushed, filled, emptied_and_stopped, awake_and_killed)
ON_A_CLUSTER: Phases = (nothing, flushed, a_master_is_killed, another_hangs, both_are_back)


@asynccontextmanager
async def a_sale(database_url: str, folder: Path, redis: RedisServer | Cluster) -> AsyncIterator[Sale]:
    environment = {
        "DOORBUSTER_DATABASE_URL": database_url,
        "DOORBUSTER_PROCESS_LOG_LEVEL": "warning",
        "DOORBUSTER_INVENTORY_STRATEGY": "redis_lua",
        "DOORBUSTER_REDIS_URL": redis.url,
    }
    try:
        migrating = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "doorbuster", "migrate", "--data", str(folder)),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await migrating.wait() == 0
        secrets = load_secrets(Settings(data=str(folder))).webhook_secrets
        with SimulatorProcess(folder / "provider.sqlite", secrets=secrets, arguments=("--webhooks", "off")) as provider:
            async with (
                shop_process(folder, provider.base_url, folder / "serve.log", environment=environment) as shop,
                Pool(shop.base_url) as pool,
            ):
                yield await opened(shop, pool, redis)
    finally:
        redis.stop()


async def opened(shop: ShopProcess, pool: Pool, redis: RedisServer | Cluster) -> Sale:
    """A sale, and ordinary goods of which there are few, behind a gateway that limits."""
    file = shop.folder / "buyers.jsonl"
    await shop.command("buyers", "create", str(VISITORS * len(ON_ONE)), "--out", str(file))
    await shop.command("import", "--sample")
    await shop.command("config", "set", *GATEWAY, "--why", "a sale")
    sale = Sale(shop, pool, redis, [buyer.token for buyer in load_buyers(file)])
    first, second = (await pool.request("GET", "/v1/products?limit=2")).json(dict[str, Any])["items"]
    sale.product_id, sale.ordinary_sku = first["id"], second["skus"][0]["id"]
    await shop.command("stock", "receive", "--sku", first["skus"][0]["id"], "--units", str(UNITS))
    await shop.command("stock", "receive", "--sku", sale.ordinary_sku, "--units", str(ORDINARY_UNITS))
    words = ("sale", "create", first["skus"][0]["id"], "--units", str(UNITS), "--price", "100", "--opens-in-s", "0")
    sale.sale_id = (await shop.command(*words))["id"]
    return sale


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("start", "phases"), [(lambda: start_redis(own=True), ON_ONE), (Cluster, ON_A_CLUSTER)], ids=["one", "cluster"]
)
async def test_half_of_the_visitors_get_what_they_came_for_and_nothing_is_oversold(
    postgres_url: str, tmp_path: Path, start: Callable[[], RedisServer | Cluster], phases: Phases
):
    async with a_sale(postgres_url, tmp_path, start()) as sale:
        goodput = {phase.__name__: await sale.phase(phase) for phase in phases}
        assert min(goodput.values()) >= 0.5, (goodput, sale.answers)
        assert sale.answers["claimed"] == UNITS, "sold to the last one"
        connection = await asyncpg.connect(postgres_url)
        try:
            held = "SELECT count(*) FROM flash_sale.claims WHERE released_ms IS NULL"
            assert await connection.fetchval(held) == UNITS
            assert await connection.fetchval("SELECT units_left FROM flash_sale.allotments") == 0
            assert (
                await connection.fetchval(ORDERED, int(sale.ordinary_sku)) == sale.answers["ordered"] <= ORDINARY_UNITS
            )
        finally:
            await connection.close()
        report = await sale.shop.command("audit")
        assert report["ok"], report
