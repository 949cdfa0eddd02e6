"""Idempotency keys: the key is the first row a creating transaction writes, and its answer the last.

A concurrent duplicate waits for the first one's commit at the unique key, then gets the stored answer. Refusals
roll the key back: only success binds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.platform.sql.database import Tx

T = TypeVar("T", bound=Struct)

metadata = sa.MetaData()

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Index("idempotency_keys_by_age", "at_ms"),
)

KEPT_MS = 7 * 24 * 3600 * 1000
"""A key may be used again a week later."""


def fingerprint(request: Struct) -> bytes:
    """A digest of the request, after validation, so that white space and order of fields do not matter."""
    return hashlib.blake2b(msgspec.json.encode(request, order="sorted"), digest_size=16).digest()


def once(
    tx: Tx, scope: str, key: str, request: Struct, answer_type: type[T], now_ms: int, create: Callable[[], T]
) -> T:
    """What `create` returns, the first time; the same answer for the same key and request ever after.

    `scope` says whose key it is and for what ("address:<account>"). Raises IdempotencyKeyReused.
    """
    digest = fingerprint(request)
    row = {"scope": scope, "key": key, "fingerprint": digest, "answer": None, "at_ms": now_ms}
    at_key = sa.and_(idempotency_keys.c.scope == scope, idempotency_keys.c.key == key)
    if not tx.insert_if_absent(idempotency_keys, row):
        bound = tx.execute(sa.select(idempotency_keys).where(at_key)).one()
        if bound.fingerprint != digest:
            raise IdempotencyKeyReused
        return msgspec.json.decode(bound.answer, type=answer_type)
    answer = create()
    tx.execute(sa.update(idempotency_keys).where(at_key).values(answer=msgspec.json.encode(answer)))
    return answer


def unbind(tx: Tx, scope: str, key: str) -> None:
    """Forgets a key whose request has failed after all, in a later transaction than the one that bound it."""
    at_key = sa.and_(idempotency_keys.c.scope == scope, idempotency_keys.c.key == key)
    tx.execute(sa.delete(idempotency_keys).where(at_key))


def forget_keys(tx: Tx, now_ms: int, limit: int = 1000) -> int:
    """Deletes at most `limit` keys that are older than KEPT_MS."""
    old = (
        sa.select(idempotency_keys.c.scope, idempotency_keys.c.key)
        .where(idempotency_keys.c.at_ms < now_ms - KEPT_MS)
        .order_by(idempotency_keys.c.at_ms)
        .limit(limit)
    )
    both = sa.tuple_(idempotency_keys.c.scope, idempotency_keys.c.key)
    return tx.execute(sa.delete(idempotency_keys).where(both.in_(old))).rowcount
