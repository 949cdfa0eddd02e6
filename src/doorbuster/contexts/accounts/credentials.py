"""Proving who one is with a password, without letting anybody guess for long.

The bound on guesses is a row in the database, raised before the password is looked at and lowered when it was right,
so parallel guesses cannot slip past it. In 15 minutes an e-mail address may be guessed at

- 10 times from one place (an IPv4 address or IPv6 /64): a stranger who hammers an account pauses himself, not its
  owner, who sits somewhere else;
- 100 times from everywhere together, which bounds a botnet. Places from which the account has logged in during the
  life of a refresh token are exempt from this one, so a botnet cannot shut out the owner from where he usually is.
  On a new device he then waits for at most 15 minutes; sessions that he has go on.

E-mail addresses without an account are counted alike, so the pause tells nothing. How much one place may ask in all,
over many accounts, is the front door's limiter's business. Behind a proxy the front door must set the client's address,
or all shoppers sit in one place.
"""

from __future__ import annotations

from msgspec import Struct

from doorbuster.contexts.accounts import model, session_store, store
from doorbuster.contexts.accounts.model import GuessSubjects
from doorbuster.contexts.accounts.passwords import PasswordHasher
from doorbuster.contracts.accounts import TooManyFailedLogIns, WrongCredentials
from doorbuster.kernel.clock import Clock, Instant
from doorbuster.kernel.principal import Role
from doorbuster.platform.sql.database import Database, Tx


class Proven(Struct, frozen=True):
    """An account whose password was right a moment ago. `settle` must follow."""

    account_id: int
    role: Role
    password_version: int
    subjects: GuessSubjects
    fresh_hash: str | None
    """The same password at today's cost, if its stored hash is outdated."""


class CredentialCheck:
    def __init__(self, database: Database, hasher: PasswordHasher, clock: Clock) -> None:
        self._database = database
        self._hasher = hasher
        self._clock = clock

    async def prove(self, email: str, password: str, address: str) -> Proven:
        """The account of a normalised e-mail address, if the password is its own. `address`: the client's.

        Does the same work whether or not there is an account. Raises WrongCredentials, TooManyFailedLogIns,
        Overloaded (not counted as a guess).
        """
        subjects = model.guess_subjects(email, address)
        password = model.normalised_password(password)
        now_ms = self._clock.now_ms()
        with self._hasher.place():
            found = await self._database.write(lambda tx: _guess(tx, email, subjects, now_ms))
            right = await self._hasher.matches(found.password_hash if found else None, password)
            if found is None or not right:
                raise WrongCredentials
            outdated = self._hasher.outdated(found.password_hash)
            fresh_hash = await self._hasher.hash(password) if outdated else None
        return Proven(found.account_id, found.role, found.password_version, subjects, fresh_hash)

    def settle(self, tx: Tx, proven: Proven) -> None:
        """Ends a proof in the transaction that relies on it, and locks the account.

        Raises WrongCredentials if password or role were changed in the meantime.
        """
        if store.lock_account(tx, proven.account_id) != proven.password_version:
            raise WrongCredentials
        session_store.forgive(tx, proven.subjects)
        if proven.fresh_hash is not None:
            store.replace_hash(tx, proven.account_id, proven.fresh_hash)


def _guess(tx: Tx, email: str, subjects: GuessSubjects, now_ms: Instant) -> store.Credentials | None:
    """Counts the guess and says what it is held against. Raises TooManyFailedLogIns: then nothing is counted."""
    found = store.credentials(tx, email)
    if not session_store.count_guess(tx, subjects.from_here, model.GUESSES_FROM_ONE_PLACE, now_ms):
        raise _paused(tx, subjects.from_here, now_ms)
    if session_store.count_guess(tx, subjects.from_anywhere, model.GUESSES_FROM_ANYWHERE, now_ms):
        return found
    if found is not None and session_store.has_logged_in_from(tx, found.account_id, subjects.from_here):
        return found
    raise _paused(tx, subjects.from_anywhere, now_ms)


def _paused(tx: Tx, subject: bytes, now_ms: Instant) -> TooManyFailedLogIns:
    left_ms = session_store.window_ends_ms(tx, subject) - now_ms
    return TooManyFailedLogIns(retry_after_s=max(1, -(-left_ms // 1000)))
