"""Accounts and addresses in SQL."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from msgspec import Struct

from doorbuster.contexts.accounts.model import Address
from doorbuster.contexts.accounts.tables import accounts, addresses
from doorbuster.contracts.accounts import Account, Contact
from doorbuster.kernel.principal import Role
from doorbuster.platform.sql.database import Tx

_account_columns = (
    accounts.c.id,
    accounts.c.email,
    accounts.c.name,
    accounts.c.role,
    accounts.c.created_ms,
)


class Credentials(Struct, frozen=True):
    """What a log-in is held against."""

    account_id: int
    role: Role
    password_hash: str
    password_version: int

    def __repr__(self) -> str:
        return f"Credentials(account_id={self.account_id})"


def add_account(tx: Tx, account: Account, password_hash: str) -> bool:
    """False if the e-mail address is taken."""
    return tx.insert_if_absent(
        accounts, _account_row(account) | {"password_hash": password_hash, "password_version": 0}
    )


def add_buyers(tx: Tx, buyers: Sequence[Account]) -> None:
    """Accounts without e-mail address and password, at most 1000 at once."""
    tx.execute(
        sa.insert(accounts),
        [_account_row(buyer) | {"password_hash": None, "password_version": 0} for buyer in buyers],
    )


def _account_row(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "role": account.role,
        "created_ms": account.created_ms,
    }


def account(tx: Tx, account_id: int) -> Account | None:
    row = tx.execute(sa.select(*_account_columns).where(accounts.c.id == account_id)).first()
    return Account(*row) if row else None


def account_of_email(tx: Tx, email: str) -> Account | None:
    row = tx.execute(sa.select(*_account_columns).where(accounts.c.email == email)).first()
    return Account(*row) if row else None


def contacts(tx: Tx, account_ids: Sequence[int]) -> list[Contact]:
    """Those that exist, in order of id."""
    columns = (accounts.c.id, accounts.c.email, accounts.c.name, accounts.c.role)
    rows = tx.execute(sa.select(*columns).where(accounts.c.id.in_(account_ids)).order_by(accounts.c.id))
    return [Contact(*row) for row in rows]


def credentials(tx: Tx, email: str) -> Credentials | None:
    row = tx.execute(
        sa.select(accounts.c.id, accounts.c.role, accounts.c.password_hash, accounts.c.password_version).where(
            accounts.c.email == email
        )
    ).first()
    return Credentials(*row) if row else None


def lock_account(tx: Tx, account_id: int) -> int | None:
    """The version of its password. What is counted per account is counted behind this lock (SQLite has one writer)."""
    return tx.execute(
        sa.select(accounts.c.password_version).where(accounts.c.id == account_id).with_for_update(key_share=True)
    ).scalar()


def replace_hash(tx: Tx, account_id: int, password_hash: str) -> None:
    """The same password, hashed at another cost."""
    tx.execute(sa.update(accounts).where(accounts.c.id == account_id).values(password_hash=password_hash))


def replace_credentials(tx: Tx, account_id: int, role: Role, password_hash: str) -> None:
    """Another password or role."""
    tx.execute(
        sa.update(accounts)
        .where(accounts.c.id == account_id)
        .values(role=role, password_hash=password_hash, password_version=accounts.c.password_version + 1)
    )


def add_address(tx: Tx, account_id: int, address: Address) -> None:
    tx.execute(
        sa.insert(addresses).values(
            {name: getattr(address, name) for name in Address.__struct_fields__} | {"account_id": account_id}
        )
    )


def address_count(tx: Tx, account_id: int) -> int:
    return tx.execute(
        sa.select(sa.func.count()).select_from(addresses).where(addresses.c.account_id == account_id)
    ).scalar_one()


def addresses_of(tx: Tx, account_id: int, limit: int) -> list[Address]:
    """In the order in which they were added."""
    columns = [addresses.c[name] for name in Address.__struct_fields__]
    rows = tx.execute(
        sa.select(*columns).where(addresses.c.account_id == account_id).order_by(addresses.c.id).limit(limit)
    )
    return [Address(*row) for row in rows]


def delete_address(tx: Tx, account_id: int, address_id: int) -> bool:
    """False if this account has no such address."""
    return (
        tx.execute(
            sa.delete(addresses).where(addresses.c.id == address_id, addresses.c.account_id == account_id)
        ).rowcount
        == 1
    )
