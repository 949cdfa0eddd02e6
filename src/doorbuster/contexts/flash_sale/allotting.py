"""Units of a sale come out of the warehouse, and what nobody took goes back: a pair of movements on both sides.

    plan committed → warehouse asked (once per sale, whoever asks) → plan becomes the sale
    sale closed → units left are taken from the allotment and told in one transaction → warehouse

Between any two of these steps the process may die. A plan that was left behind is carried on by the sweep; the
warehouse knows a sale by its id, and a return by the sale and its number.
"""

from __future__ import annotations

import asyncio

import msgspec
import sqlalchemy as sa
import structlog

from doorbuster.contexts.flash_sale import store
from doorbuster.contexts.flash_sale.claiming import lock_allotments
from doorbuster.contexts.flash_sale.model import Sale
from doorbuster.contexts.flash_sale.tables import allotment_returns, allotments, sale_plans, sales
from doorbuster.contracts.flash_sale import AllotmentReturned
from doorbuster.contracts.inventory import Allots, OutOfStock
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import unbind
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "flash_sale"
LEFT_BEHIND_MS = 15_000
"""A plan of this age has lost whoever made it: longer than a request may take."""
SWEEP_S = 1.0
OUTAGE_PAUSE_S = 2.0
PAGE = 100

log = structlog.get_logger(NAME)


class Plan(msgspec.Struct, frozen=True):
    """A sale that is to be, and the idempotency key that asked for it."""

    sale: Sale
    scope: str
    key: str


class Allotting:
    def __init__(self, database: Database, inventory: Allots, wakeups: Wakeups, clock: Clock) -> None:
        self._database = database
        self._inventory = inventory
        self._wakeups = wakeups
        self._clock = clock

    async def carry_out(self, plan: Plan) -> Sale:
        """Makes the planned sale true, or forgets it. May be done twice at once.

        Raises OutOfStock (the plan and its key are gone), Unavailable, OutcomeUnknown (the plan stays).
        """
        terms, allotment = plan.sale.terms, plan.sale.allotment
        crash_point("sale.planned")
        try:
            await self._inventory.allot(terms.sale_id, terms.sku_id, allotment.units)
        except OutOfStock:
            made = await self._database.write(lambda tx: _forget_plan(tx, plan))
            if made is None:
                raise
            return made
        crash_point("sale.allotted")
        now_ms = self._clock.now_ms()
        made = await self._database.write(lambda tx: _become_sale(tx, plan, now_ms))
        self._wakeups.wake(NAME)
        if made is None:
            raise OutOfStock("the sale was given up meanwhile; ask again")
        return made

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            pause_s = SWEEP_S
            try:
                await self.carry_on()
                await self.give_back()
            except Busy as outage:
                log.warning("allotting waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def carry_on(self) -> int:
        """Carries out plans that were left behind; returns how many became sales. Raises Unavailable."""
        before_ms = self._clock.now_ms() - LEFT_BEHIND_MS
        made = 0
        for plan in await self._database.read(lambda tx: _left_behind(tx, before_ms)):
            try:
                await self.carry_out(plan)
                made += 1
            except OutOfStock:
                log.warning("a sale that was left behind has no stock", sale_id=plan.sale.terms.sale_id)
        return made

    async def give_back(self) -> int:
        """Returns what is left of closed sales to the warehouse; says how many sales. Raises Unavailable.

        Units that come back to a sale after its close follow with a return of their own.
        """
        now_ms = self._clock.now_ms()
        over = await self._database.read(lambda tx: _closed_with_units(tx, now_ms))
        if not over:
            return 0
        returned = await self._database.write(lambda tx: _return(tx, over, now_ms))
        crash_point("sale.returned")
        self._wakeups.wake(NAME)
        return returned


def write_plan(tx: Tx, plan: Plan, now_ms: int) -> None:
    tx.execute(
        sa.insert(sale_plans).values(
            sale_id=plan.sale.terms.sale_id,
            scope=plan.scope,
            key=plan.key,
            sale=msgspec.json.encode(plan.sale),
            planned_ms=now_ms,
        )
    )


def _become_sale(tx: Tx, plan: Plan, now_ms: int) -> Sale | None:
    """The sale; None if somebody gave the plan up: then the units are told back."""
    sale_id = plan.sale.terms.sale_id
    if _take_plan(tx, sale_id):
        store.insert_sale(tx, plan.sale)
        return plan.sale
    made = store.find_sale(tx, sale_id)
    if made is None and tx.insert_if_absent(allotment_returns, _return_row(plan.sale, now_ms)):
        units = plan.sale.allotment.units
        emit(tx, [AllotmentReturned(sale_id, plan.sale.terms.sku_id, 1, units)], now_ms)
    return made


def _return_row(sale: Sale, now_ms: int) -> dict[str, int]:
    return {"sale_id": sale.terms.sale_id, "number": 1, "quantity": sale.allotment.units, "at_ms": now_ms}


def _forget_plan(tx: Tx, plan: Plan) -> Sale | None:
    """Gives the plan and its key up, unless somebody else made the sale meanwhile: then it is returned."""
    if _take_plan(tx, plan.sale.terms.sale_id):
        unbind(tx, plan.scope, plan.key)
        return None
    return store.find_sale(tx, plan.sale.terms.sale_id)


def _take_plan(tx: Tx, sale_id: int) -> bool:
    """One of those who carry a plan out gets it."""
    return tx.execute(sa.delete(sale_plans).where(sale_plans.c.sale_id == sale_id)).rowcount == 1


def _left_behind(tx: Tx, before_ms: int) -> list[Plan]:
    statement = (
        sa.select(sale_plans).where(sale_plans.c.planned_ms <= before_ms).order_by(sale_plans.c.planned_ms).limit(PAGE)
    )
    return [Plan(msgspec.json.decode(row.sale, type=Sale), row.scope, row.key) for row in tx.execute(statement)]


def _closed_with_units(tx: Tx, now_ms: int) -> list[int]:
    statement = (
        sa.select(allotments.c.sale_id)
        # A literal, so that the partial index is known to apply.
        .where(allotments.c.closes_ms <= now_ms, allotments.c.units_left > sa.literal_column("0"))
        .order_by(allotments.c.closes_ms)
        .limit(PAGE)
    )
    return list(tx.execute(statement).scalars())


def _return(tx: Tx, sale_ids: list[int], now_ms: int) -> int:
    """Takes the units that are left out of the allotments and tells the warehouse, under the lock that claims take."""
    left = {row[0]: row[2] for row in lock_allotments(tx, sorted(sale_ids)) if row[2] and row[5] <= now_ms}
    if not left:
        return 0
    tx.execute(
        sa.update(allotments)
        .where(allotments.c.sale_id.in_(left))
        .values(units=allotments.c.units - allotments.c.units_left, units_left=0, version=allotments.c.version + 1)
    )
    sku_of = {row.sale_id: row.sku_id for row in tx.execute(sa.select(sales).where(sales.c.sale_id.in_(left)))}
    counted = tx.execute(
        sa.select(allotment_returns.c.sale_id, sa.func.max(allotment_returns.c.number).label("last"))
        .where(allotment_returns.c.sale_id.in_(left))
        .group_by(allotment_returns.c.sale_id)
    )
    last = {row.sale_id: row.last for row in counted}
    told = [
        AllotmentReturned(sale_id, sku_of[sale_id], last.get(sale_id, 0) + 1, units) for sale_id, units in left.items()
    ]
    tx.execute(
        sa.insert(allotment_returns),
        [
            {"sale_id": event.sale_id, "number": event.number, "quantity": event.quantity, "at_ms": now_ms}
            for event in told
        ],
    )
    emit(tx, told, now_ms)
    return len(told)
