"""The daily reconciliation: every difference between statement and ledger is found, explained or not, and kept."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import Passing, Shop
from doorbuster.contexts.payments.daily import DAY_MS
from doorbuster.contexts.payments.differences import (
    IN_FLIGHT_MS,
    Difference,
    LedgerLine,
    Matching,
    Reconciliation,
    Standing,
    compare,
)
from doorbuster.contexts.payments.provider import Period, StatementLine
from doorbuster.contexts.payments.store.tables import (
    ledger_entries,
    payments,
    reconciliation_differences,
    reconciliations,
)
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

SLOWEST_TEST_MS = 300_000
"""The provider's clock goes on while ours stands: by as much as a test may take."""
NOW_MS = 10 * DAY_MS
THERE = StatementLine("capture", "1", "2", None, 500, "CNY", NOW_MS - DAY_MS)
HERE = LedgerLine("capture", 1, 0, 500, "CNY", NOW_MS - DAY_MS)
BACK_THERE = StatementLine("refund", "1", "2", "9", 100, "CNY", NOW_MS - DAY_MS)
BACK_HERE = LedgerLine("refund", 1, 9, 100, "CNY", NOW_MS - DAY_MS)
replace = msgspec.structs.replace


@pytest.fixture(params=["simulator", "stripe"])
async def own(request: pytest.FixtureRequest, open_shop: OpenShop, own_simulator: SimulatorProcess) -> Shop:
    return await open_shop(own_simulator, wrap=Passing, protocol=request.param)


def compared(
    theirs: list[StatementLine],
    ours: list[LedgerLine],
    theirs_around: tuple[StatementLine, ...] = (),
    ours_around: tuple[LedgerLine, ...] = (),
    standing: Standing | None = None,
) -> tuple[int, list[tuple[str, bool]]]:
    matching = Matching(
        Period(NOW_MS - DAY_MS, NOW_MS),
        theirs,
        ours,
        {(line.kind, line.refund_id or line.payment_id): line for line in theirs_around},
        {line.movement: line for line in ours_around},
    )
    matched, found = compare(matching, standing or Standing({}, {}), NOW_MS)
    return matched, [(one.kind, one.explained) for one in found]


def test_what_is_the_same_on_both_sides_matches():
    assert compared([THERE, BACK_THERE], [BACK_HERE, HERE]) == (2, [])
    assert compared([], []) == (0, [])


@pytest.mark.parametrize(
    ("status", "explained"),
    [("pending", True), ("failed", True), ("in_progress", True), ("cancelled", False), (None, False)],
)
def test_a_capture_that_is_not_here_is_in_flight_while_a_sweep_will_ask_for_it(status: str | None, explained: bool):
    standing = Standing({} if status is None else {"1": status}, {})  # type: ignore[dict-item]
    assert compared([THERE], [], standing=standing) == (0, [("missing-here", explained)])


def test_a_refund_that_is_not_here_is_in_flight_while_it_is_requested():
    assert compared([BACK_THERE], [], standing=Standing({}, {"9": "requested"})) == (0, [("missing-here", True)])
    assert compared([BACK_THERE], [], standing=Standing({}, {})) == (0, [("missing-here", False)])


def test_what_is_not_there_is_unexplained_unless_it_is_young():
    assert compared([], [HERE]) == (0, [("missing-there", False)])
    assert compared([], [replace(HERE, at_ms=NOW_MS - 1000)]) == (0, [("missing-there", True)])


def test_another_day_on_the_other_side_is_a_matter_of_timing():
    assert compared([THERE], [], ours_around=(replace(HERE, at_ms=NOW_MS),)) == (0, [("timing", True)])
    early = replace(THERE, at_ms=NOW_MS - DAY_MS - 1)
    assert compared([], [HERE], theirs_around=(early,)) == (0, [("timing", True)])


def test_amounts_and_currencies_are_compared_and_doubles_found():
    for other in (replace(THERE, amount=501), replace(THERE, currency="USD")):
        assert compared([other], [HERE]) == (0, [("amount", False)])
        assert compared([], [HERE], theirs_around=(other,)) == (0, [("amount", False)])
    assert compared([THERE, THERE], [HERE]) == (1, [("twice", False)])


async def today(shop: Shop, day_ms: int | None = None) -> Reconciliation:
    (made,) = await shop.service.reconcile(day_ms or day_of(shop))
    return made


def day_of(shop: Shop) -> int:
    return shop.clock.now_ms() // DAY_MS * DAY_MS


async def test_a_day_of_true_books_matches_and_is_kept(own: Shop):
    for _ in range(3):
        await own.open(method="pm_card_visa")
    refunded = await own.open(method="pm_card_visa")
    await own.request_refund(refunded, amount=Money(90, "CNY"))
    await own.service.refunding.sweep()
    await own.open()
    made = await today(own)
    assert (made.ok, made.statement_lines, made.ledger_lines, made.matched) == (True, 5, 5, 5)
    assert made.differences == ()
    (row,) = await own.rows(reconciliations)
    assert (row.id, row.matched, row.unexplained, row.until_ms - row.from_ms) == (made.id, 5, 0, DAY_MS)
    (yesterday,) = await own.service.reconcile()
    assert (yesterday.ok, yesterday.statement_lines, yesterday.until_ms) == (True, 0, made.from_ms)


async def test_each_difference_is_named_and_kept(own: Shop):
    day_ms = day_of(own)
    unheard = await own.open()
    await own.desk.confirm(unheard)
    cancelled, dearer, unposted = [await own.open(method="pm_card_visa") for _ in range(3)]
    row = {"status": "cancelled", "captured_amount": 0, "captured_ms": None}
    await forget_postings(own, [cancelled.id, unposted.id])
    await own.tamper(sa.update(payments).where(payments.c.id == cancelled.id).values(**row))
    for account, amount in (("provider:" + own.till.default_provider().name, 7), ("customers", -7)):
        await own.tamper(sa.insert(ledger_entries).values(**posting(day_ms, dearer.id + 1, account, amount)))
    own.clock.advance(IN_FLIGHT_MS + SLOWEST_TEST_MS)
    made = await today(own, day_ms)
    found = {(one.payment_id, one.kind, one.explained) for one in made.differences}
    assert found == {
        (str(unheard.id), "missing-here", True),
        (str(cancelled.id), "missing-here", False),
        (str(unposted.id), "missing-here", False),
        (str(dearer.id + 1), "missing-there", False),
    }
    assert (made.ok, made.matched, made.explained, made.unexplained) == (False, 1, 1, 3)
    kept = await own.rows(reconciliation_differences)
    assert [difference_of(row) for row in kept] == list(made.differences)
    await own.service.reconciling.sweep()
    assert (await today(own, day_ms)).unexplained == 3
    assert str(unheard.id) not in {
        one.payment_id for one in (await today(own, day_ms)).differences if not one.explained
    }


def difference_of(row: sa.Row[tuple[object, ...]]) -> Difference:
    values = dict(row._mapping)
    return Difference(**{name: values[name] for name in Difference.__struct_fields__})


def posting(day_ms: int, payment_id: int, account: str, amount: int) -> dict[str, object]:
    return {
        "transaction_id": payment_id,
        "account": account,
        "payment_id": payment_id,
        "refund_id": 0,
        "kind": "capture",
        "amount": amount,
        "currency": "CNY",
        "cause": "planted",
        "at_ms": day_ms + 1,
    }


async def forget_postings(shop: Shop, payment_ids: list[int]) -> None:
    """The ledger lets nothing be deleted: what it must not have is moved out of the way with its triggers off."""
    if shop.database.dialect == "sqlite":
        await shop.tamper(sa.text("DROP TRIGGER ledger_no_delete"))
    else:
        await shop.tamper(sa.text("ALTER TABLE ledger_entries DISABLE TRIGGER ledger_append_only"))
    await shop.tamper(sa.delete(ledger_entries).where(ledger_entries.c.payment_id.in_(payment_ids)))
    if shop.database.dialect == "postgres":
        await shop.tamper(sa.text("ALTER TABLE ledger_entries ENABLE TRIGGER ledger_append_only"))


async def test_without_the_statement_nothing_is_said(own: Shop):
    await own.open(method="pm_card_visa")
    await own.desk.misbehave(down=True)
    with pytest.raises(Unavailable):
        await today(own)
    assert not await own.rows(reconciliations)
