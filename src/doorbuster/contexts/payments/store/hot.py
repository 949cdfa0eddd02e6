"""The statements of the hot path, written for each dialect: batches with a constant number of statements.

Begin: insert those that may be, then look for what else their orders have. Settle: one statement moves the payments,
posts the captures and tells of them; what may not move is left alone, with all that belongs to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from doorbuster.contexts.payments.model import CUSTOMERS, MOVES, Intent, PaymentRecord, sources
from doorbuster.contracts.payments import PaymentCaptured, PaymentStatus
from doorbuster.kernel.cause import cause_in
from doorbuster.platform.bus import outbox
from doorbuster.platform.sql.database import Tx

OBSTACLES: tuple[PaymentStatus, ...] = ("failed", "captured", "refunding")
"""Payments beside which no other one is simply begun: they hold money or may still take it."""


class Step(Struct, frozen=True):
    """Where one payment shall move, in the provider's words. `ledger_id` is for the posting, if it is a capture.

    `checkout_url` and `decline` are kept where they are None; `next_check_ms` too, unless `stop_checks`.
    """

    payment: PaymentRecord
    intent: Intent
    to: PaymentStatus
    ledger_id: int
    checkout_url: str | None = None
    decline: str | None = None
    next_check_ms: int | None = None

    @property
    def stop_checks(self) -> bool:
        return self.to not in ("pending", "failed")  # those are asked for until something is certain


# --- begin ----------------------------------------------------------------------------------------------------------

_INSERTED = (
    "INSERT INTO payments (id, order_id, customer_id, provider, idempotency_key, method, amount, currency, status, "
    "lease_until_ms, next_check_ms, checks, captured_amount, refund_requested, refunded_amount, "
    "created_ms, updated_ms, cause) "
)
_INSERT_SQLITE = (
    f"{_INSERTED}VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'in_progress', ?9, ?10, 0, 0, 0, 0, ?11, ?11, ?12) "
    "ON CONFLICT DO NOTHING RETURNING id"
)
_INSERT_POSTGRES = (
    f"{_INSERTED}SELECT n.id, n.order_id, n.customer_id, n.provider, "  # noqa: S608 - constants
    "n.key, n.method, n.amount, n.currency, "
    "'in_progress', n.lease, n.check_ms, 0, 0, 0, 0, n.now, n.now, n.cause "
    "FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], "
    "$8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[]) "
    "AS n(id, order_id, customer_id, provider, key, method, amount, currency, lease, check_ms, now, cause) "
    "ON CONFLICT DO NOTHING RETURNING id"
)


def _listed(statuses: Sequence[str]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


_OBSTACLE_SQLITE = f"SELECT 1 FROM payments WHERE order_id = ? AND id <> ? AND status IN ({_listed(OBSTACLES)}) LIMIT 1"  # noqa: S608
# LATERAL ... LIMIT keeps the plan an index probe per order, whatever the statistics said when it was made.
_OBSTACLES_POSTGRES = (
    "SELECT w.id FROM unnest($1::bigint[], $2::bigint[]) AS w(id, order_id) "  # noqa: S608 - constants
    "CROSS JOIN LATERAL (SELECT 1 FROM payments p WHERE p.order_id = w.order_id AND p.id <> w.id "
    f"AND p.status IN ({_listed(OBSTACLES)}) LIMIT 1) AS o"
)


def begin(tx: Tx, new: Sequence[PaymentRecord]) -> set[int]:
    """Writes new payments whose key is free and whose order has nothing else that matters; returns their ids.

    The second look is a statement of its own: only behind the insert, which holds the order's one open place, can
    nothing be opened beside it any more.
    """
    begun = _insert(tx, new)
    held_up = _obstacles(tx, [payment for payment in new if payment.id in begun])
    if held_up:
        tx.run_many(_WITHDRAW[tx.dialect], [(payment_id,) for payment_id in sorted(held_up)])
    return begun - held_up


_WITHDRAW = {"sqlite": "DELETE FROM payments WHERE id = ?", "postgres": "DELETE FROM payments WHERE id = $1"}


def _insert(tx: Tx, new: Sequence[PaymentRecord]) -> set[int]:
    rows = [
        (
            payment.id,
            payment.order_id,
            payment.customer_id,
            payment.provider,
            payment.idempotency_key,
            payment.method,
            payment.amount,
            payment.currency,
            payment.lease_until_ms,
            payment.next_check_ms,
            payment.created_ms,
            payment.cause,
        )
        for payment in new
    ]
    if tx.dialect == "sqlite":
        return {found[0] for row in rows for found in tx.rows(_INSERT_SQLITE, *row)}
    return {found[0] for found in tx.rows(_INSERT_POSTGRES, *zip(*rows, strict=True))}


def _obstacles(tx: Tx, begun: Sequence[PaymentRecord]) -> set[int]:
    if not begun:
        return set()
    if tx.dialect == "sqlite":
        return {payment.id for payment in begun if tx.rows(_OBSTACLE_SQLITE, payment.order_id, payment.id)}
    rows = tx.rows(_OBSTACLES_POSTGRES, [payment.id for payment in begun], [payment.order_id for payment in begun])
    return {row[0] for row in rows}


# --- settle ---------------------------------------------------------------------------------------------------------

_TARGETS: tuple[PaymentStatus, ...] = ("pending", "captured", "failed", "cancelled")


def _allowed(target: str, status: str, url: str) -> str:
    """The state table as a condition. Only the answer to the creating request, which brings the address for another
    try, declines a payment in progress: a callback that was faster leaves it to that."""
    ways = [f"({target} = '{to}' AND {status} IN ({_listed(sources(to))}))" for to in _TARGETS]
    known = f"({target} <> 'failed' OR {status} <> 'in_progress' OR {url} IS NOT NULL)"
    return f"({' OR '.join(ways)}) AND {known}"


assert all(to in MOVES for to in _TARGETS)

_MOVE_SQLITE = (
    "UPDATE payments SET status = ?1, reference = ?2, lease_until_ms = NULL, updated_ms = ?3, "  # noqa: S608 - constants
    "checkout_url = coalesce(checkout_url, ?4), decline = coalesce(decline, ?5), "
    "next_check_ms = CASE WHEN ?6 THEN NULL ELSE coalesce(?7, next_check_ms) END, "
    "captured_amount = CASE ?1 WHEN 'captured' THEN amount ELSE captured_amount END, "
    "captured_ms = CASE ?1 WHEN 'captured' THEN ?3 ELSE captured_ms END "
    f"WHERE id = ?8 AND amount = ?9 AND currency = ?10 AND {_allowed('?1', 'status', '?4')} RETURNING id"
)
_POST_SQLITE = (
    "INSERT INTO ledger_entries (transaction_id, account, payment_id, refund_id, kind, amount, currency, cause, at_ms) "
    "VALUES (?, ?, ?, 0, 'capture', ?, ?, 'captured', ?)"
)

_SETTLE_POSTGRES = (
    "WITH asked AS (SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], "  # noqa: S608 - constants
    "$4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bool[], $10::bigint[], $11::bytea[]) "
    "AS a(id, target, reference, amount, currency, checkout_url, decline, check_ms, stop_checks, ledger_id, told)), "
    "moved AS (UPDATE payments p SET status = a.target, reference = a.reference, lease_until_ms = NULL, "
    "updated_ms = $12, checkout_url = coalesce(p.checkout_url, a.checkout_url), "
    "decline = coalesce(p.decline, a.decline), "
    "next_check_ms = CASE WHEN a.stop_checks THEN NULL ELSE coalesce(a.check_ms, p.next_check_ms) END, "
    "captured_amount = CASE a.target WHEN 'captured' THEN p.amount ELSE p.captured_amount END, "
    "captured_ms = CASE a.target WHEN 'captured' THEN $12 ELSE p.captured_ms END "
    "FROM asked a WHERE p.id = a.id AND p.amount = a.amount AND p.currency = a.currency "
    f"AND {_allowed('a.target', 'p.status', 'a.checkout_url')} "
    "RETURNING p.id, p.order_id, p.provider, p.amount, p.currency, a.target, a.ledger_id, a.told, p.cause), "
    "posted AS (INSERT INTO ledger_entries "
    "(transaction_id, account, payment_id, refund_id, kind, amount, currency, cause, at_ms) "
    "SELECT m.ledger_id, s.account, m.id, 0, 'capture', s.amount, m.currency, 'captured', $12 FROM moved m "
    f"CROSS JOIN LATERAL (VALUES ('provider:' || m.provider, m.amount), ('{CUSTOMERS}', -m.amount)) "
    "AS s(account, amount) WHERE m.target = 'captured'), "
    "announced AS (INSERT INTO outbox (txid, type, aggregate_id, payload, cause, at_ms) "
    "SELECT pg_current_xact_id()::text::bigint, $13::text, m.order_id, m.told, m.cause, $12 FROM moved m "
    "WHERE m.target = 'captured') "
    "SELECT id FROM moved"
)


def settle(tx: Tx, steps: Sequence[Step], now_ms: int) -> list[bool]:
    """Moves payments where their steps say, from wherever the state table allows; says of each step whether it did.

    Captures are posted and told in the same go. Several steps of one payment are made one after another.
    """
    moved = [False] * len(steps)
    left: list[int] = sorted(range(len(steps)), key=lambda at: steps[at].payment.id)  # as everybody locks them
    while left:
        one_each = {steps[at].payment.id: at for at in reversed(left)}  # the first of each payment
        turn = sorted(one_each.values(), key=lambda at: steps[at].payment.id)
        done = _settle(tx, [steps[at] for at in turn], now_ms)
        for at in turn:
            moved[at] = steps[at].payment.id in done
        left = [at for at in left if at not in one_each.values()]
    return moved


def _settle(tx: Tx, steps: Sequence[Step], now_ms: int) -> set[int]:
    if tx.dialect == "sqlite":
        return {step.payment.id for step in steps if _settle_sqlite(tx, step, now_ms)}
    rows = tx.rows(
        _SETTLE_POSTGRES,
        [step.payment.id for step in steps],
        [step.to for step in steps],
        [step.intent.reference for step in steps],
        [step.intent.amount for step in steps],
        [step.intent.currency for step in steps],
        [step.checkout_url for step in steps],
        [step.decline for step in steps],
        [step.next_check_ms for step in steps],
        [step.stop_checks for step in steps],
        [step.ledger_id for step in steps],
        [_told(step, now_ms) for step in steps],
        now_ms,
        outbox.type_of(PaymentCaptured),
    )
    return {row[0] for row in rows}


def _captured(step: Step, now_ms: int) -> PaymentCaptured:
    return PaymentCaptured(step.payment.id, step.payment.order_id, step.payment.money, now_ms)


def _told(step: Step, now_ms: int) -> bytes | None:
    return outbox.rows_of([_captured(step, now_ms)])[0][2] if step.to == "captured" else None


def _settle_sqlite(tx: Tx, step: Step, now_ms: int) -> bool:
    payment, intent = step.payment, step.intent
    moved = tx.rows(
        _MOVE_SQLITE,
        step.to,
        intent.reference,
        now_ms,
        step.checkout_url,
        step.decline,
        step.stop_checks,
        step.next_check_ms,
        payment.id,
        intent.amount,
        intent.currency,
    )
    if moved and step.to == "captured":
        sides = ((f"provider:{payment.provider}", payment.amount), (CUSTOMERS, -payment.amount))
        tx.run_many(
            _POST_SQLITE,
            [(step.ledger_id, account, payment.id, amount, payment.currency, now_ms) for account, amount in sides],
        )
        outbox.emit(tx, [_captured(step, now_ms)], now_ms, [cause_in(payment.cause)])
    return bool(moved)
