"""The databases of the contexts that sell, on PostgreSQL: stopped still, killed, and of the wrong schema.

Whoever asks meanwhile is told within the time limit, and what was acknowledged is there afterwards.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from doorbuster.lab.demo.shop_process import ShopProcess, shop_process
from doorbuster.lab.stampede.buyers import load_buyers
from postgres_server import PostgresServer, standing_still

UNTIL_S = 60.0
LIMIT_S = 2
"""Of the server's time for a request; the door gives up after twice that."""


class Till:
    def __init__(
        self, shop: ShopProcess, client: httpx.AsyncClient, database: PostgresServer, tokens: list[str]
    ) -> None:
        self.shop, self.client, self.database, self.tokens = shop, client, database, tokens
        self.sale_id = ""
        self.acknowledged: list[str] = []

    async def claim(self) -> httpx.Response:
        """Somebody new; an order that is acknowledged is kept."""
        headers = {"Authorization": f"Bearer {self.tokens.pop()}", "Idempotency-Key": secrets.token_hex(8)}
        answer = await self.client.post(f"/v1/sales/{self.sale_id}/claims", headers=headers, json={"quantity": 1})
        if answer.status_code == 201:
            self.acknowledged.append(answer.json()["order_id"])
        return answer

    async def sells_again(self) -> None:
        async with asyncio.timeout(UNTIL_S):
            while (await self.claim()).status_code != 201:
                await asyncio.sleep(0.2)


@contextmanager
def killed(database: PostgresServer) -> Generator[None]:
    database.control("stop", "-m", "immediate")
    yield
    database.control("restart")


@asynccontextmanager
async def till(folder: Path) -> AsyncIterator[Till]:
    database = PostgresServer.start()
    environment = {
        "DOORBUSTER_DATABASE_URL": database.url,
        "DOORBUSTER_HTTP_REQUEST_TIMEOUT_S": str(LIMIT_S),
        "DOORBUSTER_PROCESS_LOG_LEVEL": "error",
    }
    data = folder / "data"
    try:
        assert doorbuster("migrate", "--data", str(data), environment=environment).returncode == 0
        async with (
            shop_process(data, "", folder / "serve.log", environment=environment) as shop,
            httpx.AsyncClient(base_url=shop.base_url, timeout=UNTIL_S, verify=False) as client,
        ):
            file = folder / "buyers.jsonl"
            await shop.command("buyers", "create", "400", "--out", str(file))
            await shop.command("import", "--sample")
            opened = Till(shop, client, database, [buyer.token for buyer in load_buyers(file)])
            sku_id = (await client.get("/v1/products?limit=1")).json()["items"][0]["skus"][0]["id"]
            await shop.command("stock", "receive", "--sku", sku_id, "--units", "400")
            words = ("sale", "create", sku_id, "--units", "400", "--price", "100", "--opens-in-s", "0")
            opened.sale_id = (await shop.command(*words))["id"]
            yield opened
    finally:
        database.stop()


def doorbuster(*words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "doorbuster", *words]
    variables = {**os.environ, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=UNTIL_S, check=False)


Trouble = Callable[[PostgresServer], AbstractContextManager[None]]


@pytest.mark.timeout(300)
async def test_whoever_asks_meanwhile_is_told_in_time_and_what_was_acknowledged_is_there(tmp_path: Path):
    trouble: Trouble
    async with till(tmp_path) as open_till:
        await open_till.sells_again()
        for trouble in (standing_still, killed):
            with trouble(open_till.database):
                async with asyncio.timeout(LIMIT_S * 2 + 10):  # the door's limit, and room for a busy machine
                    answers: list[httpx.Response] = await asyncio.gather(*[open_till.claim() for _ in range(5)])
                assert {answer.status_code for answer in answers} == {503}, [answer.text for answer in answers]
                assert {answer.json()["slug"] for answer in answers} <= {"unavailable", "outcome-unknown", "overloaded"}
                assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
                assert (await open_till.client.get("/healthz")).status_code == 200, "the process is well"
                ready = await open_till.client.get("/readyz")
                assert ready.status_code == 503
                assert "flash_sale" in ready.json()["detail"]
            await open_till.sells_again()
            assert await _eventually(open_till.client, "/readyz") == 200
        assert len(open_till.acknowledged) >= 3
        connection = await asyncpg.connect(open_till.database.url)
        try:
            rows = await connection.fetch("SELECT order_id::text FROM flash_sale.claims")
            assert set(open_till.acknowledged) <= {row[0] for row in rows}
            left = await connection.fetchval("SELECT units_left FROM flash_sale.allotments")
            assert left == 400 - len(rows), "also those whose outcome nobody was told"
        finally:
            await connection.close()
        assert (await open_till.shop.command("audit"))["ok"]


async def _eventually(client: httpx.AsyncClient, path: str) -> int:
    async with asyncio.timeout(UNTIL_S):
        while (status := (await client.get(path)).status_code) != 200:
            await asyncio.sleep(0.2)
    return status


async def test_a_server_does_not_start_on_a_schema_that_does_not_fit(postgres_url: str, tmp_path: Path):
    environment = {"DOORBUSTER_DATABASE_URL": postgres_url}
    words = ("serve", "--port", "0", "--data", str(tmp_path))
    refused = doorbuster(*words, environment=environment)
    assert refused.returncode != 0
    assert "doorbuster migrate" in refused.stderr
    assert "Traceback" not in refused.stderr

    assert doorbuster("migrate", "--data", str(tmp_path), environment=environment).returncode == 0
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DROP SCHEMA support CASCADE")
    await connection.close()
    refused = doorbuster(*words, environment=environment)
    assert refused.returncode != 0
    assert "support" in refused.stderr
    assert "Traceback" not in refused.stderr
