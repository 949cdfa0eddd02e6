"""The hot transaction: a batch of claims. Its statements are written for each dialect; the decision is shared.

1. lock the allotments, ascending by id
2. read counters and keys, in statements of their own: under READ COMMITTED a single one would see the tables as
   they were before the lock was granted
3. decide
4. write, guarded by the database's own checks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from doorbuster.contexts.flash_sale.model import Allotment, Decision, Quota, Terms, Ticket, decide
from doorbuster.contracts.flash_sale import AdmissionUsed, Claim, ClaimAccepted, ClaimRequest
from doorbuster.kernel.cause import text_of
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import ShopError
from doorbuster.platform.bus import outbox
from doorbuster.platform.sql.database import Row, Tx


class Batch(Struct, frozen=True):
    """What a committed batch came to, and the allotments as it left them."""

    outcomes: Sequence[Claim | ShopError]
    allotments: Sequence[Allotment]


class AllotmentLost(Exception):
    """A guard refused what the decision had allowed: the row changed under our lock. Never expected."""


def claim_batch(
    tx: Tx,
    requests: Sequence[ClaimRequest],
    terms: Mapping[int, Terms],
    clock: Clock,
    next_id: Callable[[int], int],
) -> Batch:
    """Decides and writes `requests` in one transaction. `terms` holds those of every sale that exists.

    The clock is read behind the lock: whoever waited for a sale that was being closed comes too late.
    """
    sale_ids = sorted({request.sale_id for request in requests} & terms.keys())
    allotments = {row[0]: Allotment(*row) for row in lock_allotments(tx, sale_ids)}
    now_ms = clock.now_ms()
    pairs = list({(request.sale_id, request.customer_id) for request in requests})
    used = _read_used(tx, pairs)
    # A key is bound only where a counter exists: most customers come for the first time.
    known = [request for request in requests if (request.sale_id, request.customer_id) in used]
    bound = _read_bound(tx, known, terms) if known else {}
    tickets = _tickets_shown(requests, allotments)
    spent = _read_spent(tx, tickets) if tickets else ()
    decision = decide(requests, terms, allotments, used, bound, now_ms, next_id, spent)
    if decision.claims:
        _write(tx, decision, terms, now_ms)
    if decision.spent:
        _spend(tx, decision, now_ms)
    left = [_after(allotment, decision.taken.get(sale_id, 0)) for sale_id, allotment in allotments.items()]
    return Batch(decision.outcomes, left)


def _after(allotment: Allotment, taken: int) -> Allotment:
    if not taken:
        return allotment
    return Allotment(
        allotment.sale_id,
        allotment.units,
        allotment.left - taken,
        allotment.version + 1,
        allotment.opens_ms,
        allotment.closes_ms,
        allotment.guarded,
    )


_ALLOTMENT = "SELECT sale_id, units, units_left, version, opens_ms, closes_ms, guarded FROM allotments WHERE sale_id"


def lock_allotments(tx: Tx, sale_ids: Sequence[int]) -> Sequence[Row]:
    """Locks in ascending order, as everything does that changes allotments. SQLite's transaction is the lock."""
    if tx.dialect == "sqlite":
        return [row for sale_id in sale_ids for row in tx.rows(f"{_ALLOTMENT} = ?", sale_id)]
    return tx.rows(f"{_ALLOTMENT} = ANY($1::bigint[]) ORDER BY sale_id FOR UPDATE", sale_ids)


def _read_used(tx: Tx, pairs: Sequence[Quota]) -> dict[Quota, int]:
    if tx.dialect == "sqlite":
        sql = "SELECT sale_id, customer_id, used FROM quotas WHERE sale_id = ? AND customer_id = ?"
        rows = [row for pair in pairs for row in tx.rows(sql, *pair)]
    else:
        # LATERAL ... LIMIT keeps the plan an index probe per pair, whatever the statistics said when it was made.
        rows = tx.rows(
            "SELECT q.sale_id, q.customer_id, q.used "
            "FROM unnest($1::bigint[], $2::bigint[]) AS w(sale_id, customer_id) "
            "CROSS JOIN LATERAL (SELECT sale_id, customer_id, used FROM quotas "
            "WHERE sale_id = w.sale_id AND customer_id = w.customer_id LIMIT 1) AS q",
            [pair[0] for pair in pairs],
            [pair[1] for pair in pairs],
        )
    return {(row[0], row[1]): row[2] for row in rows}


# Columns in the order that `claim_of` reads them.
_CLAIM_BY_KEY_SQLITE = (
    "SELECT order_id, sale_id, customer_id, key, quantity, claimed_ms, released_ms FROM claims "
    "WHERE sale_id = ? AND customer_id = ? AND key = ?"
)
_CLAIMS_BY_KEY_POSTGRES = (
    "SELECT c.* FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS w(sale_id, customer_id, key) "
    "CROSS JOIN LATERAL (SELECT order_id, sale_id, customer_id, key, quantity, claimed_ms, released_ms FROM claims "
    "WHERE sale_id = w.sale_id AND customer_id = w.customer_id AND key = w.key LIMIT 1) AS c"
)


def _read_bound(
    tx: Tx, requests: Sequence[ClaimRequest], terms: Mapping[int, Terms]
) -> dict[tuple[int, int, str], Claim]:
    identities = list({(request.sale_id, request.customer_id, request.key) for request in requests})
    if tx.dialect == "sqlite":
        rows = [row for identity in identities for row in tx.rows(_CLAIM_BY_KEY_SQLITE, *identity)]
    else:
        rows = tx.rows(
            _CLAIMS_BY_KEY_POSTGRES,
            [identity[0] for identity in identities],
            [identity[1] for identity in identities],
            [identity[2] for identity in identities],
        )
    return {(row[1], row[2], row[3]): claim_of(row, terms[row[1]]) for row in rows}


def claim_of(row: Row, terms: Terms) -> Claim:
    """The claim that a row (in the order of the statements above) and its sale's terms stand for."""
    order_id, sale_id, customer_id, _key, quantity, claimed_ms, released_ms = row
    return Claim(
        order_id=order_id,
        sale_id=sale_id,
        customer_id=customer_id,
        sku_id=terms.sku_id,
        title=terms.title,
        quantity=quantity,
        unit_price=terms.price,
        claimed_ms=claimed_ms,
        pay_by_ms=claimed_ms + terms.pay_within_ms,
        merchant_id=terms.merchant_id,
        released=released_ms is not None,
    )


def _write(tx: Tx, decision: Decision, terms: Mapping[int, Terms], now_ms: int) -> None:
    if tx.dialect == "sqlite":
        _write_sqlite(tx, decision, terms, now_ms)
    else:
        _write_postgres(tx, decision, terms, now_ms)


def _write_sqlite(tx: Tx, decision: Decision, terms: Mapping[int, Terms], now_ms: int) -> None:
    for sale_id, taken in decision.taken.items():
        guarded = tx.rows(
            "UPDATE allotments SET units_left = units_left - ?1, version = version + 1 "
            "WHERE sale_id = ?2 AND units_left >= ?1 RETURNING 1",
            taken,
            sale_id,
        )
        if not guarded:
            raise AllotmentLost(sale_id)
    tx.run_many(
        "INSERT INTO claims (order_id, sale_id, customer_id, key, quantity, claimed_ms) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (claim.order_id, claim.sale_id, claim.customer_id, key, claim.quantity, now_ms)
            for claim, key in zip(decision.claims, decision.keys, strict=True)
        ],
    )
    tx.run_many(
        "INSERT INTO quotas (sale_id, customer_id, used, limit_per_customer, given_back) VALUES (?, ?, ?, ?, 0) "
        "ON CONFLICT DO UPDATE SET used = used + excluded.used",
        [(*quota, units, terms[quota[0]].limit_per_customer) for quota, units in decision.used.items()],
    )
    outbox.emit(tx, [ClaimAccepted(claim) for claim in decision.claims], now_ms, decision.causes)


_WRITE_POSTGRES = (
    "WITH taken AS (UPDATE allotments a SET units_left = a.units_left - t.units, version = a.version + 1 "
    "FROM unnest($1::bigint[], $2::bigint[]) AS t(sale_id, units) "
    "WHERE a.sale_id = t.sale_id AND a.units_left >= t.units RETURNING a.sale_id), "
    "claimed AS (INSERT INTO claims (order_id, sale_id, customer_id, key, quantity, claimed_ms) "
    "SELECT *, $9::bigint FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])), "
    "counted AS (INSERT INTO quotas (sale_id, customer_id, used, limit_per_customer, given_back) "
    "SELECT *, 0 FROM unnest($10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]) "
    "ON CONFLICT (sale_id, customer_id) DO UPDATE SET used = quotas.used + excluded.used), "
    "told AS (INSERT INTO outbox (txid, type, aggregate_id, payload, cause, at_ms) "
    "SELECT pg_current_xact_id()::text::bigint, $14::text, o.id, o.payload, o.cause, $9::bigint "
    "FROM unnest($3::bigint[], $8::bytea[], $15::text[]) AS o(id, payload, cause)) "
    "SELECT count(*) FROM taken"
)


def _write_postgres(tx: Tx, decision: Decision, terms: Mapping[int, Terms], now_ms: int) -> None:
    claims = decision.claims
    events = outbox.rows_of([ClaimAccepted(claim) for claim in claims])
    ((taken,),) = tx.rows(
        _WRITE_POSTGRES,
        list(decision.taken.keys()),
        list(decision.taken.values()),
        [claim.order_id for claim in claims],
        [claim.sale_id for claim in claims],
        [claim.customer_id for claim in claims],
        decision.keys,
        [claim.quantity for claim in claims],
        [payload for _, _, payload in events],
        now_ms,
        [quota[0] for quota in decision.used],
        [quota[1] for quota in decision.used],
        list(decision.used.values()),
        [terms[quota[0]].limit_per_customer for quota in decision.used],
        outbox.type_of(ClaimAccepted),
        [text_of(cause) for cause in decision.causes],
    )
    if taken != len(decision.taken):
        raise AllotmentLost(sorted(decision.taken))


# --- sales with a waiting room: each admission is spent once, in the transaction of its claim ---------------------


def _tickets_shown(requests: Sequence[ClaimRequest], allotments: Mapping[int, Allotment]) -> list[Ticket]:
    guarded = {sale_id for sale_id, allotment in allotments.items() if allotment.guarded}
    if not guarded:
        return []
    return list(
        {
            (request.sale_id, request.admission.ticket_id)
            for request in requests
            if request.sale_id in guarded and request.admission is not None
        }
    )


def _read_spent(tx: Tx, tickets: Sequence[Ticket]) -> set[Ticket]:
    """Those that were used before. Read behind the allotments' lock, like the counters."""
    if tx.dialect == "sqlite":
        sql = "SELECT sale_id, ticket_id FROM spent_admissions WHERE sale_id = ? AND ticket_id = ?"
        rows = [row for ticket in tickets for row in tx.rows(sql, *ticket)]
    else:
        rows = tx.rows(
            "SELECT s.sale_id, s.ticket_id FROM unnest($1::bigint[], $2::bigint[]) AS w(sale_id, ticket_id) "
            "CROSS JOIN LATERAL (SELECT sale_id, ticket_id FROM spent_admissions "
            "WHERE sale_id = w.sale_id AND ticket_id = w.ticket_id LIMIT 1) AS s",
            [ticket[0] for ticket in tickets],
            [ticket[1] for ticket in tickets],
        )
    return {(row[0], row[1]) for row in rows}


def _spend(tx: Tx, decision: Decision, now_ms: int) -> None:
    """The primary key is the guard: what memory overlooked fails the batch, and its requests are decided singly."""
    rows = [(*ticket, claim.customer_id, claim.order_id) for ticket, claim in decision.spent.items()]
    columns = "spent_admissions (sale_id, ticket_id, customer_id, order_id)"
    if tx.dialect == "sqlite":
        tx.run_many(f"INSERT INTO {columns} VALUES (?, ?, ?, ?)", rows)  # noqa: S608 - a constant
    else:
        tx.rows(
            f"INSERT INTO {columns} "  # noqa: S608 - a constant
            "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])",
            *(list(column) for column in zip(*rows, strict=True)),
        )
    used = [
        AdmissionUsed(sale_id, customer_id, ticket_id, order_id) for sale_id, ticket_id, customer_id, order_id in rows
    ]
    cause_of = {claim.order_id: cause for claim, cause in zip(decision.claims, decision.causes, strict=True)}
    outbox.emit(tx, used, now_ms, [cause_of[event.order_id] for event in used])
