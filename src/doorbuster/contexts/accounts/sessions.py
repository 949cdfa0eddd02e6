"""Sessions: log in, exchange the refresh token, log out."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import structlog

from doorbuster.contexts.accounts import model, session_store
from doorbuster.contexts.accounts.credentials import CredentialCheck, Proven
from doorbuster.contexts.accounts.model import PresentedToken, RefreshVerdict, Tokens
from doorbuster.contracts.accounts import InvalidRefreshToken
from doorbuster.kernel.principal import Principal
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.sql.database import Database, Tx

REFRESH_TOKEN_BYTES = 32

log = structlog.get_logger("accounts")


def random_token() -> str:
    return secrets.token_urlsafe(REFRESH_TOKEN_BYTES)


class SessionsService:
    """A session is a family of refresh tokens, of which only the newest may be exchanged, once.

    Access tokens are not stored and live on to their end (`auth.access_token_s`) after the session has ended.
    """

    def __init__(
        self,
        platform: Platform,
        database: Database,
        ring: KeyRing,
        check: CredentialCheck,
        new_token: Callable[[], str] = random_token,
    ) -> None:
        self._clock = platform.clock
        self._ids = platform.ids
        self._settings = platform.settings.auth
        self._database = database
        self._ring = ring
        self._check = check
        self._new_token = new_token

    async def log_in(self, email: str, password: str, address: str) -> Tokens:
        """A new session; the oldest one ends if the account would have more than 20. `address`: the client's.

        Raises InvalidEmail, WrongCredentials, TooManyFailedLogIns, Overloaded.
        """
        proven = await self._check.prove(model.normalised_email(email), password, address)
        family_id = self._ids.next(proven.account_id)
        refresh_token = self._new_token()
        await self._database.write(lambda tx: self._open(tx, proven, family_id, refresh_token))
        return self._tokens(Principal(proven.account_id, proven.role), refresh_token)

    def _open(self, tx: Tx, proven: Proven, family_id: int, refresh_token: str) -> None:
        self._check.settle(tx, proven)
        now_ms = self._clock.now_ms()
        session_store.add_family(
            tx,
            family_id,
            proven.account_id,
            proven.subjects.from_here,
            model.token_digest(refresh_token),
            now_ms,
            self._expiry_ms(now_ms),
        )
        session_store.revoke_oldest(tx, proven.account_id, now_ms)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Exchanges the token for a new one and an access token with the account's present role.

        A token that was exchanged before ends the session for whoever has it. Of two exchanges at once one gets
        its tokens, and the other ends the session. Raises InvalidRefreshToken.
        """
        fresh = self._new_token()
        verdict, token = await self._database.write(lambda tx: self._exchange(tx, refresh_token, fresh))
        if token is not None and verdict == "rotate":
            return self._tokens(Principal(token.account_id, token.role), fresh)
        if token is not None and verdict == "reused":
            log.warning("refresh used twice", account_id=token.account_id, family_id=token.family_id)
        raise InvalidRefreshToken

    def _exchange(self, tx: Tx, old: str, fresh: str) -> tuple[RefreshVerdict, PresentedToken | None]:
        """Answers with the verdict instead of raising, because what a reuse revokes must be committed."""
        digest, now_ms = model.token_digest(old), self._clock.now_ms()
        token = session_store.presented(tx, digest)
        verdict = model.judge_refresh(token, now_ms)
        if token is not None and verdict == "rotate":
            session_store.rotate(
                tx, token.family_id, digest, model.token_digest(fresh), now_ms, self._expiry_ms(now_ms)
            )
        elif token is not None and verdict == "reused":
            session_store.revoke(tx, token.family_id, "reuse", now_ms)
        return verdict, token

    async def log_out(self, refresh_token: str) -> None:
        """Ends the session of this token, also if the token was exchanged or has expired.

        A token that never was ends nothing and is no error: its holder is logged out (RFC 7009, section 2.2).
        """
        await self._database.write(lambda tx: self._close(tx, refresh_token))

    def _close(self, tx: Tx, refresh_token: str) -> None:
        token = session_store.presented(tx, model.token_digest(refresh_token))
        if token is not None:
            session_store.revoke(tx, token.family_id, "log-out", self._clock.now_ms())

    def _tokens(self, principal: Principal, refresh_token: str) -> Tokens:
        lifetime_s = self._settings.access_token_s
        return Tokens(self._ring.sign(principal, lifetime_s), refresh_token, lifetime_s)

    def _expiry_ms(self, now_ms: int) -> int:
        return now_ms + self._settings.refresh_token_s * 1000
