"""Claims over HTTP: what was answered is counted, what is counted is in the rows, and a lie is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from doorbuster.contracts.flash_sale import ClaimRequest
from doorbuster.lab.bench.closed_loop import CONNECTIONS, claim_for
from doorbuster.lab.bench.consumer import consume
from doorbuster.lab.bench.crowd import DISTINCT_MIN, tokens_for
from doorbuster.lab.bench.http_claims import HttpFigures, measure_http, verify
from doorbuster.lab.bench.messages import STORES, ServerPlan
from doorbuster.lab.bench.sellers import open_seller
from doorbuster.lab.bench.server_process import bench_server
from doorbuster.lab.bench.stores import ENGINES, Engine, Skipped, Stores, open_stores
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.postgres_server import NoPostgres
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from postgres_server import PostgresServer


@pytest.fixture
def stores(tmp_path: Path, postgres: PostgresServer) -> Stores:
    return Stores(tmp_path, postgres)


async def test_all_three_stores_are_measured_and_every_201_is_a_row(stores: Stores) -> None:
    result = await measure_http(stores, seconds=0.2, rounds=1, say=lambda _: None)
    assert result.breaches == []
    for store in STORES:
        figures = result.figures[store]
        assert isinstance(figures, HttpFigures)
        assert figures.per_s > 0
        assert figures.cpu_us > 0
        assert figures.p99_ms >= figures.p50_ms > 0
        assert figures.claims >= CONNECTIONS


async def test_without_postgres_its_part_says_why_it_is_missing(tmp_path: Path) -> None:
    result = await measure_http(Stores(tmp_path, None, "none here"), seconds=0.1, rounds=1, say=lambda _: None)
    assert result.figures["postgres"] == Skipped("none here")
    assert result.breaches == []


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_row_that_is_missing_or_made_up_is_found(stores: Stores, engine: Engine) -> None:
    async with stores.fresh(engine) as settings:
        async with open_seller("group_commit", settings, 100) as seller:
            for number in range(3):
                await seller.claim(0, ClaimRequest(seller.sale_id, 10_000 + number, f"key-{number}", 1))
            assert await verify(engine, settings, 3) == []
            assert await verify(engine, settings, 4), "one acknowledged claim is in no row"
            assert await verify("none", settings, 3), "the server without a store has kept something"
            await seller.databases[0].write(lambda tx: tx.rows("DELETE FROM claims WHERE key = 'key-1' RETURNING 1"))
        found = await verify(engine, settings, 3)
    assert found == [
        f"http {engine}: 3 acknowledged, but 2 claim rows",
        f"http {engine}: 3 acknowledged, but 2 units in claim rows",
    ]


async def test_answers_that_are_no_claims_are_not_counted_as_such(tmp_path: Path) -> None:
    plan = ServerPlan("sqlite", Settings(data=str(tmp_path)), Key.generate().render())
    strangers = tokens_for(Key.generate(), seconds=0)[:100]

    async def no_mark() -> None: ...

    async with bench_server(plan) as server:
        window = await claim_for(0.1, server.base_url, await server.new_sale(), strangers, no_mark)
    assert window.claims_in_all == 0
    assert set(window.others) == {"401"}
    assert await verify("sqlite", plan.settings, 0) == []


async def test_a_server_that_does_not_start_ends_the_bench_with_words(tmp_path: Path) -> None:
    nowhere = Settings(data=str(tmp_path), database=DatabaseSettings(url="postgresql://127.0.0.1:1/nothing"))
    with pytest.raises(ShopFailed, match="ended with status 1"):
        async with bench_server(ServerPlan("postgres", nowhere, Key.generate().render())):
            pass


def test_the_crowd_is_large_enough_to_miss_a_cache() -> None:
    tokens = tokens_for(Key.generate(), seconds=0.1)
    assert len(set(tokens)) == len(tokens) == DISTINCT_MIN


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_consumer_writes_an_order_for_every_claim(stores: Stores, engine: Engine) -> None:
    async with stores.fresh(engine) as settings:
        figures = await consume(settings, claims=1234)
    assert figures.orders == 1234
    assert figures.orders_per_s > 0


def test_a_machine_without_postgres_is_measured_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(given: str | None = None, within: Path | None = None) -> PostgresServer:
        raise NoPostgres("none here")

    monkeypatch.setattr(PostgresServer, "start", find_nothing)
    with open_stores(None) as stores:
        assert stores.engines == ("sqlite",)
        assert stores.missing == "none here"
        assert stores.folder.is_dir()
    assert not stores.folder.exists()
