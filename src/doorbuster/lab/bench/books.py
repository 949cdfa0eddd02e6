"""Counting afterwards: what was acknowledged is what the rows say, in four places."""

from __future__ import annotations

from msgspec import Struct

from doorbuster.contexts.flash_sale.service import NAME
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.open import open_databases


class Books(Struct, frozen=True):
    """Totals over all sales of a database. Here every claim is of one unit, so all of them are the same number."""

    units_taken: int
    claims: int
    units_claimed: int
    quotas_used: int
    events: int


_COUNTS = (
    "SELECT (SELECT coalesce(sum(units - units_left), 0) FROM allotments), "
    "(SELECT count(*) FROM claims), "
    "(SELECT coalesce(sum(quantity), 0) FROM claims), "
    "(SELECT coalesce(sum(used), 0) FROM quotas), "
    "(SELECT count(*) FROM outbox)"
)


def count_rows(tx: Tx) -> Books:
    ((taken, claims, claimed, used, events),) = tx.rows(_COUNTS)
    return Books(int(taken), claims, int(claimed), int(used), events)


def breaches(what: str, acknowledged: int, books: Books) -> list[str]:
    """Everything that contradicts `acknowledged` claims of one unit each; empty when the books are right."""
    found = {
        "units taken from the allotment": books.units_taken,
        "claim rows": books.claims,
        "units in claim rows": books.units_claimed,
        "units on the limit counters": books.quotas_used,
        "events in the outbox": books.events,
    }
    return [
        f"{what}: {acknowledged} acknowledged, but {count} {name}"
        for name, count in found.items()
        if count != acknowledged
    ]


async def open_books(settings: Settings) -> Books:
    """Counts on connections of our own, after whoever wrote has gone."""
    database = (await open_databases(settings.database, settings.folder, [NAME]))[NAME]
    try:
        return await books_of(database)
    finally:
        await database.close()


async def books_of(database: Database) -> Books:
    return await database.read(count_rows)
