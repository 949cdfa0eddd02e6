"""The books, proven from the rows: each check is a few statements on the snapshot of its transaction."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.payments.model import CLAIMING_MONEY, CUSTOMERS, PAID
from doorbuster.contexts.payments.store.tables import ledger_entries, payments, refunds, webhook_events
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.sql.database import Tx


def checks(tx: Tx) -> Sequence[Check]:
    return [_ledger_balances(tx), _captures_posted(tx), _refunds_posted(tx), _callbacks_once(tx)]


def _ledger_balances(tx: Tx) -> Check:
    amount = sa.func.sum(ledger_entries.c.amount)
    currency = ledger_entries.c.currency
    per_transaction = tx.execute(
        sa.select(ledger_entries.c.transaction_id, currency, amount.label("left"))
        .group_by(ledger_entries.c.transaction_id, currency)
        .having(amount != 0)
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"transaction {row.transaction_id}: {row.left} {row.currency} left" for row in per_transaction]
    in_total = tx.execute(sa.select(currency, amount.label("left")).group_by(currency).having(amount != 0))
    breaches += [f"in total: {row.left} {row.currency} left" for row in in_total]
    owed = tx.execute(
        sa.select(currency, (-amount).label("owed")).where(ledger_entries.c.account == CUSTOMERS).group_by(currency)
    )
    taken = ", ".join(f"{row.owed} {row.currency}" for row in owed) or "nothing"
    return _check("ledger balances", f"{taken} held for orders, in minor units", breaches)


_provider_side = ledger_entries.alias("provider_side")
_on_provider = _provider_side.c.account == sa.literal("provider:") + payments.c.provider


def _captures_posted(tx: Tx) -> Check:
    """Captured payments and captures in the ledger, held against one another in both directions."""
    posting = sa.and_(_provider_side.c.payment_id == payments.c.id, _provider_side.c.kind == "capture", _on_provider)
    unposted = tx.execute(
        sa.select(payments.c.id, payments.c.amount, payments.c.currency, _provider_side.c.amount.label("posted"))
        .select_from(payments.outerjoin(_provider_side, posting))
        .where(payments.c.captured_amount > 0)
        .where(
            sa.or_(
                _provider_side.c.amount.is_(None),
                _provider_side.c.amount != payments.c.captured_amount,
                _provider_side.c.currency != payments.c.currency,
            )
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"payment {row.id} captured {row.amount} {row.currency}, posted {row.posted}" for row in unposted]
    uncaptured = tx.execute(
        sa.select(ledger_entries.c.payment_id)
        .distinct()
        .select_from(ledger_entries.outerjoin(payments, payments.c.id == ledger_entries.c.payment_id))
        .where(ledger_entries.c.kind == "capture")
        .where(sa.or_(payments.c.id.is_(None), payments.c.captured_amount == 0))
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches += [f"payment {payment_id} posted, but not captured" for payment_id in uncaptured]
    breaches += _posted_oddly(tx, "capture")
    count = tx.execute(sa.select(sa.func.count()).select_from(payments).where(payments.c.status.in_(PAID))).scalar_one()
    return _check("captures posted once, with their amounts", f"{count} payments captured", breaches)


_given_back = (
    sa.select(refunds.c.payment_id, sa.func.sum(refunds.c.amount).label("amount"))
    .where(refunds.c.status == "succeeded")
    .group_by(refunds.c.payment_id)
    .subquery()
)


def _refunds_posted(tx: Tx) -> Check:
    """What was given back is what payments, refunds and ledger say, and never more than came in."""
    booked = sa.func.coalesce(_given_back.c.amount, 0)
    differing = tx.execute(
        sa.select(payments.c.id, payments.c.captured_amount, payments.c.refunded_amount, booked.label("booked"))
        .select_from(payments.outerjoin(_given_back, _given_back.c.payment_id == payments.c.id))
        .where(sa.or_(payments.c.refunded_amount != booked, booked > payments.c.captured_amount))
        .limit(BREACHES_SHOWN)
    )
    breaches = [
        f"payment {row.id}: captured {row.captured_amount}, refunded {row.refunded_amount}, refunds {row.booked}"
        for row in differing
    ]
    posting = sa.and_(_provider_side.c.refund_id == refunds.c.id, _provider_side.c.kind == "refund", _on_provider)
    unposted = tx.execute(
        sa.select(refunds.c.id, refunds.c.amount, _provider_side.c.amount.label("posted"))
        .select_from(
            refunds.outerjoin(payments, payments.c.id == refunds.c.payment_id).outerjoin(_provider_side, posting)
        )
        .where(refunds.c.status == "succeeded")
        .where(sa.or_(_provider_side.c.amount.is_(None), _provider_side.c.amount != -refunds.c.amount))
        .limit(BREACHES_SHOWN)
    )
    breaches += [f"refund {row.id} of {row.amount}, posted {row.posted}" for row in unposted]
    unmade = tx.execute(
        sa.select(ledger_entries.c.refund_id)
        .distinct()
        .select_from(ledger_entries.outerjoin(refunds, refunds.c.id == ledger_entries.c.refund_id))
        .where(ledger_entries.c.kind == "refund")
        .where(sa.or_(refunds.c.id.is_(None), refunds.c.status != "succeeded"))
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches += [f"refund {refund_id} posted, but not made" for refund_id in unmade]
    breaches += _posted_oddly(tx, "refund")
    breaches += _requests_not_counted(tx)
    waiting = tx.execute(
        sa.select(sa.func.count()).select_from(refunds).where(refunds.c.status == "requested")
    ).scalar_one()
    return _check("refunds posted once, within captures", f"{waiting} refunds requested, not made yet", breaches)


_asked_back = (
    sa.select(refunds.c.payment_id, sa.func.sum(refunds.c.amount).label("amount"))
    .group_by(refunds.c.payment_id)
    .subquery()
)


def _requests_not_counted(tx: Tx) -> list[str]:
    """What was asked back, in all, is what the payment says; so whatever is being refunded has its request."""
    asked = sa.func.coalesce(_asked_back.c.amount, 0)
    differing = tx.execute(
        sa.select(payments.c.id, payments.c.status, payments.c.refund_requested, asked.label("asked"))
        .select_from(payments.outerjoin(_asked_back, _asked_back.c.payment_id == payments.c.id))
        .where(payments.c.refund_requested != asked)
        .limit(BREACHES_SHOWN)
    )
    return [
        f"payment {row.id} ({row.status}): {row.refund_requested} asked back, refunds of {row.asked} requested or made"
        for row in differing
    ]


def _posted_oddly(tx: Tx, kind: str) -> list[str]:
    """Postings of one capture or refund that are not one transaction of two entries."""
    transactions = sa.func.count(sa.distinct(ledger_entries.c.transaction_id))
    entries = sa.func.count()
    odd = tx.execute(
        sa.select(
            ledger_entries.c.payment_id,
            ledger_entries.c.refund_id,
            transactions.label("transactions"),
            entries.label("entries"),
        )
        .where(ledger_entries.c.kind == kind)
        .group_by(ledger_entries.c.payment_id, ledger_entries.c.refund_id)
        .having(sa.or_(transactions != 1, entries != 2))
        .limit(BREACHES_SHOWN)
    )
    return [
        f"{kind} of payment {row.payment_id} posted in {row.transactions} transactions, {row.entries} entries"
        for row in odd
    ]


def _callbacks_once(tx: Tx) -> Check:
    effects = sa.func.count()
    twice = tx.execute(
        sa.select(webhook_events.c.payment_id, webhook_events.c.effect, effects.label("times"))
        .where(webhook_events.c.effect.in_(("captured", "refunded")))
        .group_by(webhook_events.c.payment_id, webhook_events.c.effect, webhook_events.c.refund_id)
        .having(effects > 1)
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"payment {row.payment_id}: {row.times} callbacks made it {row.effect}" for row in twice]
    denied = tx.execute(
        sa.select(webhook_events.c.event_id, webhook_events.c.payment_id)
        .select_from(webhook_events.outerjoin(payments, payments.c.id == webhook_events.c.payment_id))
        .where(webhook_events.c.type.in_(CLAIMING_MONEY))
        .where(sa.or_(payments.c.id.is_(None), payments.c.captured_amount == 0))
        .limit(BREACHES_SHOWN)
    )
    breaches += [f"callback {row.event_id} was taken in, payment {row.payment_id} was not" for row in denied]
    count = tx.execute(sa.select(effects).select_from(webhook_events)).scalar_one()
    return _check("callbacks take effect once", f"{count} callbacks taken in", breaches)


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
