"""Accounts: who somebody is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from doorbuster.kernel.errors import Conflict, Invalid, NotFound, TooMany, Unauthenticated
from doorbuster.kernel.events import Event
from doorbuster.kernel.principal import Role


class EmailTaken(Conflict):
    slug = "email-taken"
    title = "An account with this e-mail address exists already"


class InvalidEmail(Invalid):
    slug = "invalid-email"
    title = "Not an e-mail address that this shop accepts"


class InvalidText(Invalid):
    """`field` is empty, too long, or holds control characters."""

    slug = "invalid-text"
    title = "A text is empty, too long, or holds characters that cannot be shown"


class WeakPassword(Invalid):
    slug = "weak-password"
    title = "The password is too easy to guess"


class WrongCredentials(Unauthenticated):
    """The same answer whether the account exists or not."""

    slug = "wrong-credentials"
    title = "E-mail address or password is wrong"


class TooManyFailedLogIns(TooMany):
    """Guessing is paused for this e-mail address, whether or not an account has it. Nothing was checked."""

    slug = "too-many-failed-log-ins"
    title = "Too many failed log-ins; wait before trying again"


class AccountGone(Unauthenticated):
    """The access token is genuine, but its account is not in this shop's database (any more)."""

    slug = "account-gone"
    title = "The account of this access token does not exist"


class InvalidRefreshToken(Unauthenticated):
    slug = "invalid-refresh-token"
    title = "This refresh token is not valid; log in again"


class AddressNotFound(NotFound):
    slug = "address-not-found"
    title = "There is no such address"


class TooManyAddresses(Conflict):
    slug = "too-many-addresses"
    title = "This account has as many addresses as it may have"


class BuyersOutOfRange(Invalid):
    slug = "buyers-out-of-range"
    title = "This many buyers, or tokens that live this long, cannot be created"


class Account(Struct, frozen=True):
    id: int
    email: str | None
    name: str
    role: Role
    created_ms: int


class Buyer(Struct, frozen=True):
    """An account without a password, and a token signed for it: for load tests and demos."""

    id: int
    token: str


class Contact(Struct, frozen=True):
    """How somebody is reached."""

    account_id: int
    email: str | None
    name: str
    role: Role


class AccountRegistered(Event, frozen=True, tag="accounts.registered"):
    """There is a new account, by whatever way: registration, `create_buyers` or `ensure_staff`."""

    account_id: int
    role: Role
    registered_ms: int

    @property
    def aggregate_id(self) -> int:
        return self.account_id


class Accounts(Protocol):
    async def create_buyers(self, count: int, token_lifetime_s: int) -> Sequence[Buyer]:
        """`count` new customers (1 to 1,000,000) who cannot log in, with tokens that live 1 s to 1 day.

        Each is announced by AccountRegistered. Committed in pages: a failure on the way leaves those before it.
        Raises BuyersOutOfRange.
        """
        ...

    async def contacts(self, account_ids: Sequence[int]) -> Sequence[Contact]:
        """Those that exist, in order of id. At most 1000 ids."""
        ...

    async def ensure_staff(self, email: str, password: str, role: Role) -> Account:
        """The account of this address with this role and password, created or changed as needed.

        A change of role or password ends every session of the account. Raises InvalidEmail, WeakPassword,
        Overloaded.
        """
        ...
