"""Selling by an optimistic version: read without a lock, write only if nobody else has written meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from doorbuster.contexts.flash_sale.model import Allotment, Decision, Terms, decide
from doorbuster.contracts.flash_sale import ClaimAccepted, ClaimRequest
from doorbuster.platform.bus import outbox
from doorbuster.platform.sql.database import Row, Tx

# Numbered for both dialects: ?1 on SQLite is $1 on PostgreSQL.
_READ = (
    "SELECT a.sale_id, a.units, a.units_left, a.version, a.opens_ms, a.closes_ms, q.used FROM allotments a "
    "LEFT JOIN quotas q ON q.sale_id = a.sale_id AND q.customer_id = ?2 WHERE a.sale_id = ?1"
)
_TAKE = (
    "UPDATE allotments SET units_left = units_left - ?1, version = version + 1 "
    "WHERE sale_id = ?2 AND version = ?3 AND units_left >= ?1"
)
_CLAIM = "INSERT INTO claims (order_id, sale_id, customer_id, key, quantity, claimed_ms) "
_COUNT = "INSERT INTO quotas (sale_id, customer_id, used, limit_per_customer, given_back) "
_COUNT_ON = "ON CONFLICT (sale_id, customer_id) DO UPDATE SET used = quotas.used + excluded.used"
_TAKE_AND_WRITE_POSTGRES = (
    f"WITH taken AS ({_TAKE} RETURNING sale_id), "  # noqa: S608 - of constants
    f"claimed AS ({_CLAIM} SELECT ?4, sale_id, ?5, ?6, ?1, ?7 FROM taken), "
    f"counted AS ({_COUNT} SELECT sale_id, ?5, ?1, ?8, 0 FROM taken {_COUNT_ON}), "
    "told AS (INSERT INTO outbox (txid, type, aggregate_id, payload, at_ms) "
    "SELECT pg_current_xact_id()::text::bigint, ?9, ?4, ?10, ?7 FROM taken) "
    "SELECT 1 FROM taken"
).replace("?", "$")


class VersionMoved(Exception):
    """Somebody else has sold meanwhile; nothing was written."""


def look(tx: Tx, request: ClaimRequest) -> tuple[Allotment, int]:
    """The allotment and the customer's counter, as they are now."""
    sql = _READ if tx.dialect == "sqlite" else _READ.replace("?", "$")
    ((*allotment, used),) = tx.rows(sql, request.sale_id, request.customer_id)
    return Allotment(*allotment), used or 0


def decide_one(
    request: ClaimRequest,
    terms: Terms,
    seen: tuple[Allotment, int],
    now_ms: int,
    next_id: Callable[[int], int],
) -> Decision:
    """The shop's own decision, about one request. A key that is bound already is found by its constraint."""
    allotment, used = seen
    sale_id = request.sale_id
    counters = {(sale_id, request.customer_id): used}
    return decide([request], {sale_id: terms}, {sale_id: allotment}, counters, {}, now_ms, next_id)


def write_if_unmoved(tx: Tx, decision: Decision, terms: Terms, version: int, now_ms: int) -> None:
    """Writes one claim with all that belongs to it. Raises VersionMoved."""
    (claim,), (key,) = decision.claims, decision.keys
    take: Row = (claim.quantity, claim.sale_id, version)
    if tx.dialect == "postgres":
        ((kind, _, payload),) = outbox.rows_of([ClaimAccepted(claim)])
        claimed: Row = (claim.order_id, claim.customer_id, key, now_ms, terms.limit_per_customer, kind, payload)
        if not tx.rows(_TAKE_AND_WRITE_POSTGRES, *take, *claimed):
            raise VersionMoved
        return
    if not tx.rows(f"{_TAKE} RETURNING 1", *take):
        raise VersionMoved
    ids: Row = (claim.sale_id, claim.customer_id)
    tx.rows(f"{_CLAIM} VALUES (?, ?, ?, ?, ?, ?)", claim.order_id, *ids, key, claim.quantity, now_ms)
    tx.rows(f"{_COUNT} VALUES (?, ?, ?, ?, 0) {_COUNT_ON}", *ids, claim.quantity, terms.limit_per_customer)
    outbox.emit(tx, [ClaimAccepted(claim)], now_ms)
