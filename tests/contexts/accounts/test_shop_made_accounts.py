"""Accounts that the shop makes itself: buyers for load tests, and staff."""

from __future__ import annotations

import pytest

from contexts.accounts.accounts_shop import EMAIL, HOME, PASSWORD, Shop, all_at_once, of_type
from doorbuster.contexts.accounts.service import BUYERS_PER_TRANSACTION
from doorbuster.contexts.accounts.tables import accounts, families
from doorbuster.contracts.accounts import (
    Account,
    Accounts,
    BuyersOutOfRange,
    InvalidEmail,
    InvalidRefreshToken,
    WeakPassword,
    WrongCredentials,
)
from doorbuster.kernel.ids import SHARDS, shard_of
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.http.tokens import ExpiredToken


async def test_buyers_have_tokens_that_work_and_accounts_that_cannot_log_in(shop: Shop):
    neighbours_view: Accounts = shop.service
    count = 2 * BUYERS_PER_TRANSACTION + 1
    buyers = await neighbours_view.create_buyers(count, token_lifetime_s=60)
    assert len({buyer.id for buyer in buyers}) == count
    for buyer in buyers[:: count // 7]:
        assert shop.ring.verify(buyer.token.encode()) == Principal(buyer.id, "customer")
    rows = await shop.rows(accounts)
    assert sorted(row.id for row in rows) == sorted(buyer.id for buyer in buyers)
    assert {(row.email, row.password_hash, row.role) for row in rows} == {(None, None, "customer")}
    assert {shard_of(buyer.id) for buyer in buyers} == set(range(SHARDS)), "spread over the shards"
    shop.clock.advance(60_000)
    with pytest.raises(ExpiredToken):
        shop.ring.verify(buyers[0].token.encode())


async def test_every_buyer_is_announced(shop: Shop):
    woken = shop.platform.wakeups.subscribe("accounts")
    buyers = await shop.service.create_buyers(3, 60)
    rows = await shop.rows(outbox)
    assert [(row.type, row.aggregate_id) for row in rows] == [("accounts.registered", buyer.id) for buyer in buyers]
    assert woken.is_set()


@pytest.mark.parametrize(("count", "lifetime_s"), [(0, 60), (-1, 60), (1_000_001, 60), (1, 0), (1, 86_401)])
async def test_no_buyers_too_many_or_for_ever_are_refused(shop: Shop, count: int, lifetime_s: int):
    with pytest.raises(BuyersOutOfRange):
        await shop.service.create_buyers(count, lifetime_s)
    assert not await shop.rows(accounts)


async def test_staff_is_created_once(shop: Shop):
    first = await shop.service.ensure_staff("Boss@Example.org", PASSWORD, "admin")
    before = await shop.rows(accounts)
    assert await shop.service.ensure_staff("boss@example.org", PASSWORD, "admin") == first
    assert (first.email, first.name, first.role) == ("boss@example.org", "boss", "admin")
    assert await shop.rows(accounts) == before
    assert await shop.event_types() == ["accounts.registered"]
    session = await shop.sessions.log_in("boss@example.org", PASSWORD, HOME)
    assert shop.ring.verify(session.access_token.encode()) == Principal(first.id, "admin")
    await shop.service.ensure_staff("boss@example.org", PASSWORD, "admin")
    await shop.sessions.refresh(session.refresh_token)


async def test_concurrent_starts_create_one_member_of_staff(shop: Shop):
    outcomes = await all_at_once(lambda _: shop.service.ensure_staff(EMAIL, PASSWORD, "merchant"), 4)
    assert len(of_type(outcomes, Account)) == 4
    [row] = await shop.rows(accounts)
    assert {account.id for account in of_type(outcomes, Account)} == {row.id}
    assert row.role == "merchant"


async def test_whoever_registered_the_address_first_keeps_neither_password_nor_session(shop: Shop):
    squatter = await shop.register()
    session = await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    staff = await shop.service.ensure_staff(EMAIL, "the true owner's password", "admin")
    assert (staff.id, staff.role) == (squatter.id, "admin")
    with pytest.raises(WrongCredentials):
        await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(session.refresh_token)
    [family] = await shop.rows(families)
    assert family.revoked_because == "credentials-changed"
    await shop.sessions.log_in(EMAIL, "the true owner's password", HOME)


async def test_another_role_ends_the_sessions_with_the_old_one(shop: Shop):
    await shop.service.ensure_staff(EMAIL, PASSWORD, "admin")
    session = await shop.sessions.log_in(EMAIL, PASSWORD, HOME)
    await shop.service.ensure_staff(EMAIL, PASSWORD, "support")
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(session.refresh_token)
    [row] = await shop.rows(accounts)
    assert row.role == "support"


async def test_staff_needs_a_good_password_too(shop: Shop):
    with pytest.raises(WeakPassword):
        await shop.service.ensure_staff(EMAIL, "password123", "admin")
    with pytest.raises(InvalidEmail):
        await shop.service.ensure_staff("boss", PASSWORD, "admin")
    assert not await shop.rows(accounts)
