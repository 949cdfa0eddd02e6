"""Registering, once per e-mail address and once per idempotency key."""

from __future__ import annotations

import msgspec
import pytest

from contexts.accounts.accounts_shop import AWAY, EMAIL, HOME, PASSWORD, Shop, all_at_once, of_type, principal
from doorbuster.contexts.accounts.model import GUESSES_FROM_ONE_PLACE
from doorbuster.contexts.accounts.tables import accounts
from doorbuster.contracts.accounts import (
    Account,
    AccountGone,
    AccountRegistered,
    EmailTaken,
    InvalidEmail,
    InvalidText,
    TooManyFailedLogIns,
    WeakPassword,
)
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.sql.errors import RowRejected
from doorbuster.platform.sql.idempotency import idempotency_keys


async def test_a_new_account_is_a_customer_with_an_argon2id_hash(shop: Shop):
    account = await shop.service.register("Ann@Example.org", PASSWORD, "Ann ", "key", HOME)
    assert account == Account(account.id, EMAIL, "Ann", "customer", shop.clock.now_ms())
    [row] = await shop.rows(accounts)
    assert (row.id, row.email, row.name, row.role) == (account.id, EMAIL, "Ann", "customer")
    assert row.password_hash.startswith("$argon2id$v=19$")
    assert await shop.service.me(principal(account)) == account


async def test_registering_is_announced_in_the_same_transaction_and_wakes_the_relay(shop: Shop):
    woken = shop.platform.wakeups.subscribe("accounts")
    account = await shop.register()
    [row] = await shop.rows(outbox)
    assert msgspec.json.decode(row.payload, type=AccountRegistered) == AccountRegistered(
        account.id, "customer", account.created_ms
    )
    assert (row.type, row.aggregate_id) == ("accounts.registered", account.id)
    assert woken.is_set()


async def test_an_email_address_is_taken_in_any_case(shop: Shop):
    await shop.register(EMAIL)
    with pytest.raises(EmailTaken):
        await shop.register("ANN@EXAMPLE.ORG")
    assert len(await shop.rows(accounts)) == 1
    assert len(await shop.rows(idempotency_keys)) == 1, "a refusal does not bind its key"


async def test_the_database_itself_refuses_upper_case_a_second_account_and_half_a_log_in(shop: Shop):
    await shop.register()
    good = {"id": 1, "email": "x@y.z", "name": "x", "role": "customer", "password_hash": "h"}
    good |= {"password_version": 0, "created_ms": 0}
    for bad in ({"email": "X@y.z"}, {"email": EMAIL}, {"email": None}, {"password_hash": None}, {"role": "root"}):
        row = good | bad
        with pytest.raises(RowRejected):
            await shop.database.write(lambda tx, row=row: tx.execute(accounts.insert().values(row)))
    assert len(await shop.rows(accounts)) == 1


async def test_of_many_who_want_an_address_at_once_one_gets_it(shop: Shop):
    emails = [EMAIL, EMAIL.upper(), "Ann@example.org"]
    outcomes = await all_at_once(lambda number: shop.register(emails[number % 3]), 8)
    [winner] = of_type(outcomes, Account)
    assert len(of_type(outcomes, EmailTaken)) == 7
    [row] = await shop.rows(accounts)
    assert row.id == winner.id
    assert await shop.event_types() == ["accounts.registered"]


@pytest.mark.parametrize(
    ("email", "password", "name", "error"),
    [
        ("ann", PASSWORD, "Ann", InvalidEmail),
        ("ann@example.org" * 20, PASSWORD, "Ann", InvalidEmail),
        ("Straße@example.org", PASSWORD, "Ann", InvalidEmail),
        (EMAIL, "short", "Ann", WeakPassword),
        (EMAIL, "x" * 129, "Ann", WeakPassword),
        (EMAIL, EMAIL, "Ann", WeakPassword),
        (EMAIL, PASSWORD, "", InvalidText),
        (EMAIL, PASSWORD, "A\x00nn", InvalidText),
        (EMAIL, PASSWORD, "x" * 101, InvalidText),
    ],
)
async def test_what_breaks_a_rule_leaves_no_trace(
    shop: Shop, email: str, password: str, name: str, error: type[Exception]
):
    with pytest.raises(error):
        await shop.service.register(email, password, name, "key", HOME)
    assert not await shop.rows(accounts)
    assert not await shop.rows(idempotency_keys)
    assert not await shop.rows(outbox)


async def test_a_repeated_request_gets_the_same_answer_and_no_second_account(shop: Shop):
    first = await shop.register(key="key")
    shop.clock.advance(5000)
    assert await shop.register("ANN@example.org", key="key") == first
    assert len(await shop.rows(accounts)) == 1
    assert await shop.event_types() == ["accounts.registered"]


async def test_concurrent_repetitions_get_the_one_answer(shop: Shop):
    outcomes = await all_at_once(lambda _: shop.register(key="key"), 6)
    assert len(of_type(outcomes, Account)) == 6
    [row] = await shop.rows(accounts)
    assert {outcome.id for outcome in of_type(outcomes, Account)} == {row.id}
    assert await shop.event_types() == ["accounts.registered"]


async def test_a_key_is_not_for_another_request(shop: Shop):
    await shop.register(key="key")
    for email, name in (("bob@example.org", "Ann"), (EMAIL, "Bob")):
        with pytest.raises(IdempotencyKeyReused):
            await shop.service.register(email, PASSWORD, name, "key", HOME)
    assert len(await shop.rows(accounts)) == 1


async def test_a_key_is_not_for_another_password(shop: Shop):
    await shop.register(key="key")
    before = await shop.rows(accounts)
    with pytest.raises(IdempotencyKeyReused):
        await shop.register(password="another password", key="key")
    assert await shop.rows(accounts) == before


async def test_what_is_stored_of_a_request_cannot_be_used_to_guess_its_password(shop: Shop):
    await shop.register(key="one")
    [one] = await shop.rows(idempotency_keys)
    await shop.database.write(lambda tx: tx.execute(idempotency_keys.delete()))
    await shop.database.write(lambda tx: tx.execute(accounts.delete()))
    await shop.register(password="quite another password", key="one")
    [other] = await shop.rows(idempotency_keys)
    assert one.fingerprint == other.fingerprint, "the password has no part in it"
    assert b"password" not in other.answer


async def test_repeating_a_registration_is_no_way_to_guess_its_password(shop: Shop):
    await shop.register(key="key")
    for number in range(GUESSES_FROM_ONE_PLACE):
        with pytest.raises(IdempotencyKeyReused):
            await shop.register(password=f"guess number {number}", key="key")
    with pytest.raises(TooManyFailedLogIns):
        await shop.register(key="key")
    await shop.service.register(EMAIL, PASSWORD, "Ann", "key", AWAY)


async def test_the_account_of_a_token_may_be_gone(shop: Shop):
    with pytest.raises(AccountGone):
        await shop.service.me(Principal(42, "customer"))
