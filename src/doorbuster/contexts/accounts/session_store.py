"""Sessions: families of refresh tokens, and guesses at passwords, in SQL."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.contexts.accounts.model import (
    FAMILIES_MAX,
    GUESS_WINDOW_MS,
    GuessSubjects,
    PresentedToken,
    RevocationCause,
)
from doorbuster.contexts.accounts.tables import accounts, families, guesses, tokens
from doorbuster.kernel.clock import Instant
from doorbuster.platform.sql.database import Tx

KEPT_AFTER_END_MS = 24 * 3600 * 1000


def add_family(
    tx: Tx,
    family_id: int,
    account_id: int,
    origin: bytes,
    digest: bytes,
    now_ms: Instant,
    expires_ms: Instant,
) -> None:
    """A new session with its first token."""
    tx.execute(
        sa.insert(families).values(
            id=family_id, account_id=account_id, origin=origin, created_ms=now_ms, expires_ms=expires_ms
        )
    )
    _add_token(tx, digest, family_id, expires_ms)


def rotate(tx: Tx, family_id: int, digest: bytes, fresh: bytes, now_ms: Instant, expires_ms: Instant) -> None:
    """Exchanges the token of a family; the caller holds the family's lock (see `presented`)."""
    tx.execute(sa.update(tokens).where(tokens.c.digest == digest).values(rotated_ms=now_ms))
    _add_token(tx, fresh, family_id, expires_ms)
    tx.execute(sa.update(families).where(families.c.id == family_id).values(expires_ms=expires_ms))


def _add_token(tx: Tx, digest: bytes, family_id: int, expires_ms: Instant) -> None:
    tx.execute(sa.insert(tokens).values(digest=digest, family_id=family_id, expires_ms=expires_ms))


def presented(tx: Tx, digest: bytes) -> PresentedToken | None:
    """The token with its family, and the family's lock: whatever happens to a family happens one by one.

    The lock comes before the read that counts, or a concurrent exchange would not be seen.
    """
    family_id = tx.execute(sa.select(tokens.c.family_id).where(tokens.c.digest == digest)).scalar()
    if family_id is None:
        return None
    tx.execute(sa.select(families.c.id).where(families.c.id == family_id).with_for_update(key_share=True))
    row = tx.execute(
        sa.select(
            families.c.id,
            families.c.account_id,
            accounts.c.role,
            tokens.c.expires_ms,
            tokens.c.rotated_ms,
            families.c.revoked_ms,
        )
        .select_from(tokens)
        .join(families, families.c.id == tokens.c.family_id)
        .join(accounts, accounts.c.id == families.c.account_id)
        .where(tokens.c.digest == digest)
    ).first()
    return PresentedToken(*row) if row else None


def revoke(tx: Tx, family_id: int, cause: RevocationCause, now_ms: Instant) -> None:
    """Ends a session for good. The first cause stays."""
    tx.execute(
        sa.update(families)
        .where(families.c.id == family_id, families.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms, revoked_because=cause)
    )


def revoke_oldest(tx: Tx, account_id: int, now_ms: Instant, keep: int = FAMILIES_MAX) -> None:
    """Leaves the newest `keep` live sessions; the caller holds the account's lock."""
    surplus = (
        sa.select(families.c.id)
        .where(families.c.account_id == account_id, families.c.revoked_ms.is_(None))
        .where(families.c.expires_ms > now_ms)
        .order_by(families.c.id.desc())
        .offset(keep)
        .limit(FAMILIES_MAX)
    )
    for family_id in tx.execute(surplus).scalars().all():
        revoke(tx, family_id, "too-many", now_ms)


def revoke_all(tx: Tx, account_id: int, cause: RevocationCause, now_ms: Instant) -> None:
    tx.execute(
        sa.update(families)
        .where(families.c.account_id == account_id, families.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms, revoked_because=cause)
    )


def has_logged_in_from(tx: Tx, account_id: int, origin: bytes) -> bool:
    statement = sa.select(families.c.id).where(families.c.account_id == account_id, families.c.origin == origin)
    return tx.execute(statement.limit(1)).first() is not None


def count_guess(tx: Tx, subject: bytes, guesses_max: int, now_ms: Instant) -> bool:
    """Counts one more guess, in one statement, so that concurrent ones cannot exceed the bound. False at it."""
    over = guesses.c.since_ms <= now_ms - GUESS_WINDOW_MS
    counted = tx.execute(
        tx.insert(guesses)
        .values(subject=subject, since_ms=now_ms, guesses=1)
        .on_conflict_do_update(
            index_elements=[guesses.c.subject],
            set_={
                "guesses": sa.case((over, 1), else_=guesses.c.guesses + 1),
                "since_ms": sa.case((over, now_ms), else_=guesses.c.since_ms),
            },
            where=sa.or_(over, guesses.c.guesses < guesses_max),
        )
    )
    return counted.rowcount == 1


def window_ends_ms(tx: Tx, subject: bytes) -> Instant:
    """When a subject that `count_guess` has refused may guess again."""
    since_ms = tx.execute(sa.select(guesses.c.since_ms).where(guesses.c.subject == subject)).scalar_one()
    return since_ms + GUESS_WINDOW_MS


def forgive(tx: Tx, subjects: GuessSubjects) -> None:
    """It was no guess: the password was right."""
    tx.execute(sa.delete(guesses).where(guesses.c.subject == subjects.from_here))
    tx.execute(
        sa.update(guesses)
        .where(guesses.c.subject == subjects.from_anywhere, guesses.c.guesses > 0)
        .values(guesses=guesses.c.guesses - 1)
    )


def purge(tx: Tx, now_ms: Instant, limit: int) -> int:
    """Deletes at most `limit` rows of each kind that no answer depends on any more. Returns how many.

    Sessions stay for a day after their end: then no exchange that began in time can still be under way.
    """
    ended_ms = now_ms - KEPT_AFTER_END_MS
    expired = (
        sa.select(tokens.c.digest).where(tokens.c.expires_ms < ended_ms).order_by(tokens.c.expires_ms).limit(limit)
    )
    ended = (
        sa.select(families.c.id)
        .where(families.c.expires_ms < ended_ms)
        .where(~sa.exists().where(tokens.c.family_id == families.c.id))
        .order_by(families.c.expires_ms)
        .limit(limit)
    )
    over = (
        sa.select(guesses.c.subject)
        .where(guesses.c.since_ms <= now_ms - GUESS_WINDOW_MS)
        .order_by(guesses.c.since_ms)
        .limit(limit)
    )
    return sum(
        tx.execute(sa.delete(column.table).where(column.in_(old.scalar_subquery()))).rowcount
        for column, old in ((tokens.c.digest, expired), (families.c.id, ended), (guesses.c.subject, over))
    )
