"""Five ways to deduct stock: all are measured, rows are counted, and what is wrong in them is found out."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa

from doorbuster.contexts.inventory.tables import hold_lines, holds
from doorbuster.lab.bench import strategies
from doorbuster.lab.bench.report import write_files
from doorbuster.lab.bench.stockroom import Rows, open_stockroom
from doorbuster.lab.bench.stores import ENGINES, Engine, Stores
from doorbuster.lab.bench.strategies import ON_REDIS, STRATEGIES, FoundRedis, breaches, find_redis, measure_strategies
from doorbuster.lab.bench.strategies_report import Side, StrategiesReport, StrategyFigures
from doorbuster.lab.postgres_server import NoPostgres
from doorbuster.lab.redis_server import NoRedis, RedisServer
from doorbuster.platform.redis import Redis
from postgres_server import PostgresServer

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def stores(tmp_path: Path, postgres: PostgresServer) -> Stores:
    return Stores(tmp_path, postgres)


async def measure(stores: Stores, redis: FoundRedis, monkeypatch: pytest.MonkeyPatch) -> StrategiesReport:
    monkeypatch.setattr(strategies, "ROUNDS", 1)
    monkeypatch.setattr(strategies, "WARM_UP_S", 0.02)
    monkeypatch.setattr(strategies, "LAST_UNITS", 10)
    monkeypatch.setattr(strategies, "LAST_BUYERS", 30)
    return await measure_strategies(stores, redis, "all", 0.1, "doorbuster bench strategies", lambda _: None)


@pytest.mark.timeout(900)  # twenty shops, in turn: on a machine busy with other things it has taken three minutes
async def test_all_five_are_measured_on_both_databases_and_nothing_is_oversold(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with find_redis(None) as redis:  # one of our own: it must be empty
        report = await measure(stores, redis, monkeypatch)
    assert report.ok, report.breaches
    assert report.store == "postgres"
    for engine in ENGINES:
        side = report.sides[engine]
        assert isinstance(side, Side)
        for load in (side.hot, side.spread):
            assert tuple(load) == STRATEGIES
            for figures in load.values():
                assert isinstance(figures, StrategyFigures)
                assert figures.oversold == 0
                assert figures.holds > 0
                assert figures.p99_ms >= figures.p50_ms > 0
        asked_last = [each for each in side.hot.values() if isinstance(each, StrategyFigures)]
        assert all(each.out_of_stock + each.turned_away >= 20 for each in asked_last), "more came than there was"
    write_files(report, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "strategies.json").read_text())
    assert set(found["hot"]) == set(found["spread"]) == set(found["others"]["sqlite"]["hot"]) == set(STRATEGIES)
    assert {"per_s", "p50_ms", "p99_ms", "cpu_us", "oversold"} <= found["hot"]["redis_lua"].keys()
    assert set(found["ratios"]["hot"]) == {f"group_commit/{each}" for each in STRATEGIES if each != "group_commit"}
    root = ElementTree.fromstring((tmp_path / "out" / "strategies.svg").read_text("utf-8"))
    bars = [element for element in root.iter(f"{SVG}rect") if element.get("class") != "paper"]
    assert len(bars) == 2 * 2 * len(STRATEGIES)


async def test_without_redis_and_postgres_their_parts_say_why_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = await measure(Stores(tmp_path, None, "no elephant"), FoundRedis("", "no dictionary"), monkeypatch)
    found = report.as_json()
    assert found["ok"]
    assert found["store"] == "sqlite"
    assert found["others"] == {"postgres": {"skipped": "no elephant"}}
    assert all(found["hot"][strategy] == {"skipped": "no dictionary"} for strategy in ON_REDIS)
    assert set(found["ratios"]["spread"]) == {"group_commit/pessimistic", "group_commit/optimistic"}
    assert "no elephant" in report.table()
    assert "no dictionary" in report.table()
    ElementTree.fromstring(report.chart())


async def test_what_was_asked_for_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoPostgres, match="no elephant"):
        await measure_strategies(
            Stores(tmp_path, None, "no elephant"), FoundRedis(""), "postgres", 0.1, "", lambda _: None
        )


async def test_a_redis_that_somebody_uses_is_left_alone(tmp_path: Path) -> None:
    server = RedisServer.start()
    redis = Redis(server.url)
    try:
        await redis.command("SET", "cart", "full")
        with pytest.raises(NoRedis, match="nobody uses"):
            await measure_strategies(
                Stores(tmp_path, None, "none"), FoundRedis(server.url), "sqlite", 0.1, "", lambda _: None
            )
        assert await redis.command("GET", "cart") == "full"
    finally:
        await redis.close()
        server.stop()


@pytest.mark.parametrize("engine", ENGINES)
async def test_rows_that_were_tampered_with_are_found(stores: Stores, engine: Engine) -> None:
    async with stores.fresh(engine) as settings, open_stockroom("group_commit", settings, "") as room:
        await room.leave(5)
        await room.sell_to("hot", 9)
        assert room.answers["hot"] == {"Hold": 5, "OutOfStock": 4}
        assert breaches(room.answers["hot"], await room.rows("hot")) == []
        assert await room.broken_checks() == []
        database = room.inventory.context.database
        line = await database.read(lambda tx: tx.execute(sa.select(hold_lines).limit(1)).one())
        planted = {"order_id": 7, "sku_id": line.sku_id, "warehouse_id": line.warehouse_id, "quantity": 1}
        row = {"order_id": 7, "sale_id": 0, "status": "held", "ended_by": "", "until_ms": 1, "turn": 1, "created_ms": 1}
        await database.write(lambda tx: (tx.execute(sa.insert(holds), row), tx.execute(sa.insert(hold_lines), planted)))
        assert breaches(room.answers["hot"], await room.rows("hot")) == [
            "1 units oversold",
            "5 were told that they hold, but there are 6 holds",
        ]
        assert await room.broken_checks()
        await database.write(lambda tx: tx.execute(sa.update(holds).values(status="released", ended_by="lost")))
        found = breaches(room.answers["hot"], await room.rows("hot"))
    assert found == [
        "5 were told that they hold, but there are 0 holds",
        "4 were refused while there were units",
    ]


def test_every_way_to_be_wrong_is_named() -> None:
    assert breaches({"Hold": 3, "OutOfStock": 1}, Rows(3, 3, 3, 0)) == []
    assert breaches({"Hold": 3}, Rows(9, 3, 3, 0)) == []
    assert len(breaches({"Hold": 4, "OutOfStock": 1}, Rows(9, 3, 3, 2))) == 3


def test_a_machine_without_redis_is_measured_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(given: str | None = None) -> RedisServer:
        raise NoRedis("none here")

    monkeypatch.setattr(RedisServer, "start", find_nothing)
    with find_redis(None) as redis:
        assert redis == FoundRedis("", "none here")
