"""A batch reads what it asks for, however much was sold before: counted on PostgreSQL, planned on SQLite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import pytest
import sqlalchemy as sa

from conftest import NOW_MS
from contexts.flash_sale.conftest import MakeSale, OneSku, Warehouse, request
from doorbuster.contexts.flash_sale import claiming, store, wiring
from doorbuster.contexts.flash_sale.model import Sale, Terms
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contracts.flash_sale import Claim
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Row, Tx
from doorbuster.platform.sql.postgres import PostgresDatabase

T = TypeVar("T")
SOLD_BEFORE = 20_000
BATCH = 100


async def sell(database: Database, sale: Sale, count: int) -> None:
    """`count` claims of as many customers, as the hot transaction would have left them, without statistics."""

    def insert(tx: Tx) -> None:
        for start in range(0, count, 5_000):
            numbers = range(1_000_000 + start, 1_000_000 + min(count, start + 5_000))
            tx.execute(
                sa.insert(store.claims),
                [
                    {
                        "order_id": n,
                        "sale_id": sale.terms.sale_id,
                        "customer_id": n,
                        "key": "k",
                        "quantity": 1,
                        "claimed_ms": NOW_MS,
                    }
                    for n in numbers
                ],
            )
            tx.execute(
                sa.insert(store.quotas),
                [
                    {
                        "sale_id": sale.terms.sale_id,
                        "customer_id": n,
                        "used": 1,
                        "limit_per_customer": 2,
                        "given_back": 0,
                    }
                    for n in numbers
                ],
            )
        tx.execute(sa.update(store.allotments).values(units_left=store.allotments.c.units_left - count))

    await database.write(insert)


class Metered:
    """A PostgreSQL database that counts the rows each transaction fetches, by table."""

    name, dialect = "flash_sale", "postgres"

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self.fetched: list[Counter[str]] = []

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self._database.write(lambda tx: self._metered(tx, work))

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._database.read(lambda tx: self._metered(tx, work))

    def _metered(self, tx: Tx, work: Callable[[Tx], T]) -> T:
        before = _fetched(tx)
        result = work(tx)
        self.fetched.append(_fetched(tx) - before)
        return result

    async def close(self) -> None:
        await self._database.close()


def _fetched(tx: Tx) -> Counter[str]:
    rows = tx.rows(
        "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
        "WHERE schemaname = 'flash_sale'"
    )
    return Counter(dict(cast("Sequence[tuple[str, int]]", rows)))


@pytest.mark.parametrize("database_settings", ["postgres"], indirect=True)
async def test_postgres_fetches_as_few_rows_after_twenty_thousand_claims_as_after_none(
    platform: Platform, postgres_url: str, database: Database, make_sale: MakeSale
) -> None:
    # One connection, so that the plans of its prepared statements are those made while the tables were empty.
    metered = Metered(PostgresDatabase("flash_sale", postgres_url, pool_size=1))
    service = wiring.build(platform, metered, OneSku(), Warehouse()).service
    sale = await make_sale(units=1_000_000, limit=2)
    for n in range(8):
        await claim_again_and_anew(service, sale, first=n * 1_000 + 1, known=n * 1_000 - 999)
    cold = metered.fetched[-1]
    await sell(database, sale, SOLD_BEFORE)
    await claim_again_and_anew(service, sale, first=8_001, known=1_000_000)
    warm = metered.fetched[-1]
    assert warm["allotments"] <= 3
    # Once when the counter or the key is looked for, once when the row is written on top of it.
    assert warm["quotas"] <= 3 * BATCH
    assert warm["claims"] <= 2 * BATCH
    assert warm["claims"] + warm["quotas"] <= cold["claims"] + cold["quotas"] + BATCH
    released = await metered.write(
        lambda tx: store.release(tx, [(n, sale.terms.sale_id) for n in range(1_000_000, 1_000_000 + BATCH)], NOW_MS)
    )
    assert len(released) == BATCH
    assert metered.fetched[-1]["claims"] <= 2 * BATCH
    assert metered.fetched[-1]["quotas"] <= 2 * BATCH
    await service.close()
    await metered.close()


async def claim_again_and_anew(service: FlashSaleService, sale: Sale, first: int, known: int) -> None:
    """One batch: half of it repeats keys that are bound, if there are any, half are new customers."""
    again = [request(sale, customer) for customer in range(known, known + BATCH // 2)] if known > 0 else []
    anew = [request(sale, customer) for customer in range(first, first + BATCH // 2)]
    await service.sale(sale.terms.sale_id)
    outcomes = await service.claim_many([*again, *anew])
    assert all(isinstance(outcome, Claim) for outcome in outcomes)


class Recorder:
    """A transaction that remembers what was asked of it."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.dialect = tx.dialect
        self.cause_of = tx.cause_of
        self.asked: list[tuple[str, Sequence[Any]]] = []

    def rows(self, sql: str, *parameters: Any) -> Sequence[Row]:
        self.asked.append((sql, parameters))
        return self._tx.rows(sql, *parameters)

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._tx.run_many(sql, parameters)

    def execute(self, statement: sa.Executable, parameters: Any = None) -> Any:
        rendered = statement.compile(dialect=self._tx.connection.dialect, compile_kwargs={"literal_binds": True})
        if parameters is None:
            self.asked.append((str(rendered), ()))
        return self._tx.execute(statement, parameters)


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
async def test_sqlite_probes_indexes_in_the_hot_transaction_and_around_it(
    database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=1_000_000, limit=2)
    sale_id, terms = sale.terms.sale_id, {sale.terms.sale_id: sale.terms}
    await sell(database, sale, 500)
    for work in _hot(sale_id, terms):
        for sql, plan in await database.write(lambda tx, work=work: _plans_of(tx, work)):
            assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step], f"{sql}\n{plan}"


def _hot(sale_id: int, terms: dict[int, Terms]) -> list[Callable[[Tx], Any]]:
    new_ids = iter(range(1, 1_000))
    known, new = request_of(sale_id, 1_000_000), request_of(sale_id, 5)
    return [
        lambda tx: claiming.claim_batch(tx, [known, new], terms, ManualClock(NOW_MS), lambda _: next(new_ids)),
        lambda tx: store.release(tx, [(1_000_000, sale_id), (1_000_001, sale_id)], NOW_MS),
        lambda tx: store.set_opening(tx, sale_id, ManualClock(NOW_MS - 10)),
        lambda tx: store.set_closing(tx, sale_id, ManualClock(NOW_MS + 10)),
        lambda tx: store.live_allotments(tx, NOW_MS, 60_000),
        lambda tx: store.read_holders(tx, sale_id),
        lambda tx: store.find_claims(tx, [1_000_000, 1_000_002]),
        lambda tx: store.page_of_claims(tx, 1_000_100, 50),
        lambda tx: store.find_sale(tx, sale_id),
        lambda tx: store.list_sales(tx, 2**62, 20),
    ]


def request_of(sale_id: int, customer_id: int) -> claiming.ClaimRequest:
    return claiming.ClaimRequest(sale_id, customer_id, "k", 1)


def _plans_of(tx: Tx, work: Callable[[Tx], Any]) -> list[tuple[str, list[str]]]:
    recorder = Recorder(tx)
    work(cast("Tx", recorder))
    assert recorder.asked
    return [
        (sql, [str(row[3]) for row in tx.rows(f"EXPLAIN QUERY PLAN {sql}", *parameters)])
        for sql, parameters in recorder.asked
        if not sql.startswith("INSERT")
    ]
