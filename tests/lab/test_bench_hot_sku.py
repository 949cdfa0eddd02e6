"""One hot SKU: every strategy sells exactly what there is, whoever comes at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from doorbuster.contracts.flash_sale import Claim, ClaimRequest, LimitReached, SoldOut
from doorbuster.lab.bench.books import Books, books_of, breaches
from doorbuster.lab.bench.hot_sku import measure_hot_sku
from doorbuster.lab.bench.sellers import CLIENTS, STRATEGIES, Seller, Strategy, open_seller
from doorbuster.lab.bench.stores import ENGINES, Engine, Skipped, Stores
from postgres_server import PostgresServer

UNITS = 25
LIMIT = 1000  # the greatest a sale may have


@pytest.fixture
def stores(tmp_path: Path, postgres: PostgresServer) -> Stores:
    return Stores(tmp_path, postgres)


async def claim(seller: Seller, number: int, quantity: int = 1) -> str:
    """The outcome of a new customer's claim, by name."""
    request = ClaimRequest(seller.sale_id, 10_000 + number, f"key-{number}", quantity)
    try:
        sold = await seller.claim(number % CLIENTS, request)
    except (SoldOut, LimitReached) as refusal:
        return type(refusal).__name__
    assert sold.customer_id == request.customer_id
    return Claim.__name__


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("engine", ENGINES)
async def test_every_strategy_sells_exactly_the_units_there_are(
    stores: Stores, engine: Engine, strategy: Strategy
) -> None:
    async with stores.fresh(engine) as settings, open_seller(strategy, settings, UNITS) as seller:
        outcomes = Counter(await asyncio.gather(*(claim(seller, number) for number in range(3 * CLIENTS))))
        books = await books_of(seller.databases[0])
    assert outcomes == {"Claim": UNITS, "SoldOut": 3 * CLIENTS - UNITS}
    assert books == Books(UNITS, UNITS, UNITS, UNITS, UNITS)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("engine", ENGINES)
async def test_every_strategy_keeps_the_limit_of_a_customer(stores: Stores, engine: Engine, strategy: Strategy) -> None:
    async with stores.fresh(engine) as settings, open_seller(strategy, settings, 10 * LIMIT) as seller:
        assert await claim(seller, 1, quantity=LIMIT) == "Claim"
        with pytest.raises(LimitReached):
            await seller.claim(1, ClaimRequest(seller.sale_id, 10_001, "another key", 1))
        books = await books_of(seller.databases[0])
    assert books == Books(LIMIT, 1, LIMIT, LIMIT, 1)


async def test_both_engines_are_measured_and_their_books_are_right(stores: Stores) -> None:
    said: list[str] = []
    result = await measure_hot_sku(stores, seconds=0.05, rounds=1, say=said.append)
    assert result.breaches == []
    for engine in ENGINES:
        figures = result.figures[engine]
        assert not isinstance(figures, Skipped)
        assert set(figures) == set(STRATEGIES)
        assert all(of.claims > 0 and of.per_s > 0 for of in figures.values())
    assert len(said) == len(ENGINES) * len(STRATEGIES)


async def test_without_postgres_its_part_says_why_it_is_missing(tmp_path: Path) -> None:
    result = await measure_hot_sku(Stores(tmp_path, None, "none here"), seconds=0.02, rounds=1, say=lambda _: None)
    assert result.figures["postgres"] == Skipped("none here")
    assert not isinstance(result.figures["sqlite"], Skipped)


def test_every_total_that_is_off_is_named() -> None:
    assert breaches("sale", 3, Books(3, 3, 3, 3, 3)) == []
    named = breaches("sale", 3, Books(4, 2, 3, 3, 1))
    assert named == [
        "sale: 3 acknowledged, but 4 units taken from the allotment",
        "sale: 3 acknowledged, but 2 claim rows",
        "sale: 3 acknowledged, but 1 events in the outbox",
    ]
