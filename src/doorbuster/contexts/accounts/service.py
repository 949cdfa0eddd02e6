"""Accounts: registering, addresses, and accounts that the shop makes itself."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import asdict

from doorbuster.contexts.accounts import model, session_store, store
from doorbuster.contexts.accounts.credentials import CredentialCheck
from doorbuster.contexts.accounts.model import Address, NewAddress, Registration
from doorbuster.contexts.accounts.passwords import PasswordHasher
from doorbuster.contracts.accounts import (
    Account,
    AccountGone,
    AccountRegistered,
    AddressNotFound,
    Buyer,
    BuyersOutOfRange,
    Contact,
    EmailTaken,
    TooManyAddresses,
    WrongCredentials,
)
from doorbuster.kernel.errors import Invalid
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.principal import Principal, Role
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import once

NAME = "accounts"
BUYERS_MAX = 1_000_000
BUYERS_PER_TRANSACTION = 1000
BUYER_TOKEN_S_MAX = 86_400
CONTACTS_MAX = 1000


class AccountsService:
    """Satisfies `contracts.accounts.Accounts`."""

    def __init__(
        self,
        platform: Platform,
        database: Database,
        ring: KeyRing,
        hasher: PasswordHasher,
        check: CredentialCheck,
    ) -> None:
        self._clock = platform.clock
        self._ids = platform.ids
        self._wakeups = platform.wakeups
        self._database = database
        self._ring = ring
        self._hasher = hasher
        self._check = check

    async def register(self, email: str, password: str, name: str, key: str, address: str) -> Account:
        """A new customer; nobody registers as anything else. `address`: the client's.

        `key` makes a repetition get the same answer, if it has the same password; its guesses are bounded like
        those of a log-in. Raises InvalidEmail, InvalidText, WeakPassword, EmailTaken, IdempotencyKeyReused,
        TooManyFailedLogIns, Overloaded.
        """
        email = model.normalised_email(email)
        name = model.plain_text("name", name, model.NAME_MAX)
        password = model.checked_password(password, email)
        taken = await self._database.read(lambda tx: store.credentials(tx, email)) is not None
        password_hash = None if taken else await self._hash(password)
        new = self._new_account(email, name, "customer")
        account = await self._database.write(lambda tx: self._register(tx, key, new, password_hash))
        if account.id != new.id:
            await self._prove_repetition(email, password, address)
            return account
        self._wakeups.wake(NAME)
        return account

    def _register(self, tx: Tx, key: str, new: Account, password_hash: str | None) -> Account:
        def create() -> Account:
            if password_hash is None or not self._add(tx, new, password_hash):
                raise EmailTaken
            return new

        request = Registration(new.email or "", new.name)
        return once(tx, "register", key, request, Account, new.created_ms, create)

    async def _prove_repetition(self, email: str, password: str, address: str) -> None:
        """Raises IdempotencyKeyReused if this is not the password that the key was first used with."""
        try:
            proven = await self._check.prove(email, password, address)
            await self._database.write(lambda tx: self._check.settle(tx, proven))
        except WrongCredentials as different:
            raise IdempotencyKeyReused from different

    async def me(self, principal: Principal) -> Account:
        """Raises AccountGone."""
        account = await self._database.read(lambda tx: store.account(tx, principal.account_id))
        if account is None:
            raise AccountGone
        return account

    async def addresses(self, principal: Principal) -> list[Address]:
        """All of one's own, at most 20, oldest first."""
        return await self._database.read(lambda tx: store.addresses_of(tx, principal.account_id, model.ADDRESSES_MAX))

    async def add_address(self, principal: Principal, new: NewAddress, key: str) -> Address:
        """Raises InvalidText, TooManyAddresses, AccountGone, IdempotencyKeyReused."""
        new = model.checked_address(new)
        now_ms = self._clock.now_ms()
        address = Address(**asdict(new), id=self._ids.next(principal.account_id), created_ms=now_ms)
        scope = f"address:{principal.account_id}"
        return await self._database.write(
            lambda tx: once(
                tx, scope, key, new, Address, now_ms, lambda: _add_address(tx, principal.account_id, address)
            )
        )

    async def delete_address(self, principal: Principal, address_id: int) -> None:
        """Raises AddressNotFound, also for somebody else's."""
        if not await self._database.write(lambda tx: store.delete_address(tx, principal.account_id, address_id)):
            raise AddressNotFound(address_id=address_id)

    async def create_buyers(self, count: int, token_lifetime_s: int) -> Sequence[Buyer]:
        """See `contracts.accounts.Accounts`."""
        if not (1 <= count <= BUYERS_MAX and 1 <= token_lifetime_s <= BUYER_TOKEN_S_MAX):
            raise BuyersOutOfRange(count=count, token_lifetime_s=token_lifetime_s)
        buyers: list[Buyer] = []
        while len(buyers) < count:
            size = min(BUYERS_PER_TRANSACTION, count - len(buyers))
            page = [self._new_account(None, "Buyer", "customer") for _ in range(size)]
            await self._database.write(lambda tx, page=page: _add_buyers(tx, page))
            self._wakeups.wake(NAME)
            buyers += [
                Buyer(buyer.id, self._ring.sign(Principal(buyer.id, buyer.role), token_lifetime_s)) for buyer in page
            ]
        return buyers

    async def contacts(self, account_ids: Sequence[int]) -> Sequence[Contact]:
        """See `contracts.accounts.Accounts`."""
        if len(account_ids) > CONTACTS_MAX:
            raise Invalid(f"at most {CONTACTS_MAX} contacts at once")
        if not account_ids:
            return []
        return await self._database.read(lambda tx: store.contacts(tx, account_ids))

    async def ensure_staff(self, email: str, password: str, role: Role) -> Account:
        """See `contracts.accounts.Accounts`. Its name is the e-mail address's local part."""
        email = model.normalised_email(email)
        password = model.checked_password(password, email)
        found = await self._database.read(lambda tx: store.credentials(tx, email))
        if found is not None and found.role == role and await self._matches(found.password_hash, password):
            return await self.me(Principal(found.account_id, found.role))
        password_hash = await self._hash(password)
        new = self._new_account(email, email.partition("@")[0], role)
        account = await self._database.write(lambda tx: self._put_staff(tx, new, password_hash))
        self._wakeups.wake(NAME)
        return account

    def _put_staff(self, tx: Tx, new: Account, password_hash: str) -> Account:
        if self._add(tx, new, password_hash):
            return new
        # Somebody may have registered this address in the hope that it becomes staff: out with all his sessions.
        found = store.account_of_email(tx, new.email or "")
        assert found is not None, "an e-mail address that is taken belongs to an account"
        store.replace_credentials(tx, found.id, new.role, password_hash)
        session_store.revoke_all(tx, found.id, "credentials-changed", self._clock.now_ms())
        return Account(found.id, found.email, found.name, new.role, found.created_ms)

    def _new_account(self, email: str | None, name: str, role: Role) -> Account:
        return Account(self._ids.next_owner(), email, name, role, self._clock.now_ms())

    def _add(self, tx: Tx, new: Account, password_hash: str) -> bool:
        if not store.add_account(tx, new, password_hash):
            return False
        _announce(tx, [new])
        return True

    async def _hash(self, password: str) -> str:
        with self._hasher.place():
            return await self._hasher.hash(password)

    async def _matches(self, password_hash: str, password: str) -> bool:
        with self._hasher.place():
            return await self._hasher.matches(password_hash, password)


def _add_buyers(tx: Tx, page: Sequence[Account]) -> None:
    store.add_buyers(tx, page)
    _announce(tx, page)


def _announce(tx: Tx, added: Sequence[Account]) -> None:
    emit(
        tx,
        [AccountRegistered(account.id, account.role, account.created_ms) for account in added],
        added[0].created_ms,
    )


def _add_address(tx: Tx, account_id: int, address: Address) -> Address:
    if store.lock_account(tx, account_id) is None:
        raise AccountGone
    if store.address_count(tx, account_id) >= model.ADDRESSES_MAX:
        raise TooManyAddresses(at_most=model.ADDRESSES_MAX)
    store.add_address(tx, account_id, address)
    return address
