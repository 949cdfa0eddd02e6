"""Builds the accounts context."""

from __future__ import annotations

from dataclasses import dataclass

import argon2
from argon2.profiles import RFC_9106_LOW_MEMORY

from doorbuster.contexts.accounts.credentials import CredentialCheck
from doorbuster.contexts.accounts.passwords import PasswordHasher
from doorbuster.contexts.accounts.purge import Purge
from doorbuster.contexts.accounts.service import NAME, AccountsService
from doorbuster.contexts.accounts.sessions import SessionsService
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.accounts.migrations")


@dataclass(frozen=True)
class AccountsContext:
    service: AccountsService
    sessions: SessionsService
    purge: Purge
    context: Context


def build(
    platform: Platform,
    database: Database,
    ring: KeyRing,
    hashing_cost: argon2.Parameters = RFC_9106_LOW_MEMORY,
) -> AccountsContext:
    """`ring` signs the access tokens. `hashing_cost` is lowered by tests only."""
    hasher = PasswordHasher(platform.settings.auth.hashing_at_once, hashing_cost)
    check = CredentialCheck(database, hasher, platform.clock)
    service = AccountsService(platform, database, ring, hasher, check)
    sessions = SessionsService(platform, database, ring, check)
    purge = Purge(database, platform.clock)

    def faces() -> Faces:
        from doorbuster.contexts.accounts.http import routes

        return Faces(routes=routes(service, sessions))

    context = Context(
        name=NAME,
        database=database,
        history=HISTORY,
        faces=faces,
        tasks=(BackgroundTask("accounts-purge", "back", purge.run),),
        keeps_idempotency_keys=True,
    )
    return AccountsContext(service, sessions, purge, context)
