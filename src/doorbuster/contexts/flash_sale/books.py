"""The flash sale proves its own books: what it allotted is what it sold plus what is left, per sale and customer."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.flash_sale.model import GIVE_BACKS_MAX
from doorbuster.contexts.flash_sale.tables import allotment_returns, allotments, claims, quotas, sales, spent_admissions
from doorbuster.contracts.audit import BREACHES_SHOWN, Check, SaleFact
from doorbuster.platform.sql.database import Tx


def checks(tx: Tx) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    return [_units_conserved(tx), _nothing_oversold(tx), _limits_kept(tx), _quotas_true(tx), _admissions_spent(tx)]


_held_units = sa.func.coalesce(sa.func.sum(sa.case((claims.c.released_ms.is_(None), claims.c.quantity), else_=0)), 0)
_per_sale = sa.select(claims.c.sale_id, _held_units.label("held")).group_by(claims.c.sale_id).subquery()
_books = (
    sa.select(
        allotments.c.sale_id,
        allotments.c.units,
        allotments.c.units_left,
        sa.func.coalesce(_per_sale.c.held, 0).label("held"),
    )
    .select_from(allotments.outerjoin(_per_sale, _per_sale.c.sale_id == allotments.c.sale_id))
    .order_by(allotments.c.sale_id)
)


def _units_conserved(tx: Tx) -> Check:
    books = tx.execute(_books).all()
    orphans = tx.execute(
        sa.select(claims.c.sale_id)
        .distinct()
        .where(~sa.exists().where(sales.c.sale_id == claims.c.sale_id))
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches = [
        f"sale {row.sale_id}: {row.units} allotted, but {row.held} held and {row.units_left} left"
        for row in books
        if row.units != row.held + row.units_left
    ]
    breaches += [f"claims of sale {sale_id}, which does not exist" for sale_id in orphans]
    unallotted = tx.execute(
        sa.select(sales.c.sale_id)
        .where(~sa.exists().where(allotments.c.sale_id == sales.c.sale_id))
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches += [f"sale {sale_id} has no allotment" for sale_id in unallotted]
    units, held = sum(row.units for row in books), sum(row.held for row in books)
    return _check("units allotted = held + left", f"{held} of {units} units held, {len(books)} sales", breaches)


def _nothing_oversold(tx: Tx) -> Check:
    books = tx.execute(_books).all()
    breaches = [f"sale {row.sale_id}: {row.held} units held of {row.units}" for row in books if row.held > row.units]
    oversold = sum(max(0, row.held - row.units) for row in books)
    return _check("nothing oversold", f"oversold {oversold}", breaches)


_per_customer = (
    sa.select(
        claims.c.sale_id,
        claims.c.customer_id,
        _held_units.label("held"),
        sa.func.count(claims.c.released_ms).label("releases"),
    )
    .group_by(claims.c.sale_id, claims.c.customer_id)
    .subquery()
)


def _limits_kept(tx: Tx) -> Check:
    over = tx.execute(
        sa.select(_per_customer, sales.c.limit_per_customer)
        .join(sales, sales.c.sale_id == _per_customer.c.sale_id)
        .where(_per_customer.c.held > sales.c.limit_per_customer)
        .limit(BREACHES_SHOWN)
    )
    breaches = [
        f"customer {row.customer_id} holds {row.held} units in sale {row.sale_id}, limit {row.limit_per_customer}"
        for row in over
    ]
    customers = tx.execute(sa.select(sa.func.count()).select_from(quotas)).scalar_one()
    return _check("no customer above the limit", f"{customers} customers claimed", breaches)


_kept = sa.case((_per_customer.c.releases > GIVE_BACKS_MAX, _per_customer.c.releases - GIVE_BACKS_MAX), else_=0)
"""Releases that gave no quota back: each keeps at least a unit in the counter."""


def _quotas_true(tx: Tx) -> Check:
    """A counter is the units held; once give-backs are used up it is higher by what they did not give back."""
    joined = sa.and_(quotas.c.sale_id == _per_customer.c.sale_id, quotas.c.customer_id == _per_customer.c.customer_id)
    wrong = tx.execute(
        sa.select(_per_customer, quotas.c.used, quotas.c.given_back, quotas.c.limit_per_customer)
        .select_from(
            _per_customer.outerjoin(quotas, joined).outerjoin(sales, sales.c.sale_id == _per_customer.c.sale_id)
        )
        .where(
            sa.or_(
                quotas.c.used.is_(None),
                quotas.c.used < _per_customer.c.held + _kept,
                sa.and_(_kept == 0, quotas.c.used != _per_customer.c.held),
                quotas.c.given_back != _per_customer.c.releases - _kept,
                quotas.c.limit_per_customer != sales.c.limit_per_customer,
            )
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [
        f"customer {row.customer_id} in sale {row.sale_id}: counter {row.used} of {row.limit_per_customer}, given back "
        f"{row.given_back} times; holds {row.held}, released {row.releases} times"
        for row in wrong
    ]
    claimed = sa.exists().where(claims.c.sale_id == quotas.c.sale_id, claims.c.customer_id == quotas.c.customer_id)
    baseless = tx.execute(
        sa.select(quotas.c.sale_id, quotas.c.customer_id, quotas.c.used).where(~claimed).limit(BREACHES_SHOWN)
    )
    breaches += [
        f"customer {row.customer_id} in sale {row.sale_id}: counter {row.used}, but never claimed" for row in baseless
    ]
    return _check("counters = units held", "per customer and sale", breaches)


def _admissions_spent(tx: Tx) -> Check:
    """A claim in a sale with a waiting room has spent one admission of its customer, and no other claim has."""
    own = sa.and_(
        spent_admissions.c.order_id == claims.c.order_id,
        spent_admissions.c.sale_id == claims.c.sale_id,
        spent_admissions.c.customer_id == claims.c.customer_id,
    )
    without = tx.execute(
        sa.select(claims.c.sale_id, claims.c.order_id)
        .join(allotments, allotments.c.sale_id == claims.c.sale_id)
        .where(allotments.c.guarded, ~sa.exists().where(own))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"order {row.order_id} in sale {row.sale_id} has spent no admission" for row in without]
    baseless = tx.execute(
        sa.select(spent_admissions.c.sale_id, spent_admissions.c.ticket_id)
        .where(~sa.exists().where(own))
        .limit(BREACHES_SHOWN)
    )
    breaches += [f"ticket {row.ticket_id} of sale {row.sale_id} is spent on no claim" for row in baseless]
    count = tx.execute(sa.select(sa.func.count()).select_from(spent_admissions)).scalar_one()
    return _check("guarded claims = admissions spent", f"{count} admissions", breaches)


_returned = (
    sa.select(allotment_returns.c.sale_id, sa.func.sum(allotment_returns.c.quantity).label("returned"))
    .group_by(allotment_returns.c.sale_id)
    .subquery()
)
_facts = (
    sa.select(
        allotments.c.sale_id,
        sales.c.sku_id,
        allotments.c.units,
        allotments.c.units_left,
        sa.func.coalesce(_per_sale.c.held, 0).label("held"),
        sa.func.coalesce(_returned.c.returned, 0).label("returned"),
    )
    .select_from(
        allotments.join(sales, sales.c.sale_id == allotments.c.sale_id)
        .outerjoin(_per_sale, _per_sale.c.sale_id == allotments.c.sale_id)
        .outerjoin(_returned, _returned.c.sale_id == allotments.c.sale_id)
    )
    .order_by(allotments.c.sale_id)
)


def page_of_sales(tx: Tx, after: int, limit: int) -> list[SaleFact]:
    """The sales with ids above `after`, ascending."""
    return _sale_facts(tx, _facts.where(allotments.c.sale_id > after).limit(limit))


def sales_of(tx: Tx, sale_ids: Sequence[int]) -> list[SaleFact]:
    """Those that exist, ascending."""
    return _sale_facts(tx, _facts.where(allotments.c.sale_id.in_(sale_ids)))


def _sale_facts(tx: Tx, statement: sa.Executable) -> list[SaleFact]:
    return [
        SaleFact(row.sale_id, row.sku_id, row.units, row.units_left, int(row.held), int(row.returned))
        for row in tx.execute(statement)
    ]


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
