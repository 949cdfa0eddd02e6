"""Logging in, exchanging the refresh token, logging out."""

from __future__ import annotations

import base64
import hashlib

import argon2
import pytest

from contexts.accounts.accounts_shop import (
    AWAY,
    EMAIL,
    HOME,
    PASSWORD,
    Shop,
    all_at_once,
    of_type,
)
from doorbuster.contexts.accounts.model import FAMILIES_MAX, Tokens
from doorbuster.contexts.accounts.tables import accounts, families, guesses, tokens
from doorbuster.contexts.accounts.wiring import build
from doorbuster.contracts.accounts import InvalidRefreshToken, WrongCredentials
from doorbuster.kernel.principal import Principal

MONTH_MS = 30 * 24 * 3600 * 1000


async def log_in(shop: Shop, address: str = HOME) -> Tokens:
    return await shop.sessions.log_in(EMAIL, PASSWORD, address)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def test_logging_in_gives_an_access_token_of_the_accounts_role(shop: Shop):
    account = await shop.register()
    session = await shop.sessions.log_in("ANN@Example.org", PASSWORD, HOME)
    assert shop.ring.verify(session.access_token.encode()) == Principal(account.id, "customer")
    assert session.expires_in_s == 900


async def test_of_a_refresh_token_only_its_digest_is_stored(shop: Shop):
    account = await shop.register()
    session = await log_in(shop)
    assert len(base64.urlsafe_b64decode(session.refresh_token + "=")) == 32
    [family], [token] = await shop.rows(families), await shop.rows(tokens)
    assert (token.digest, token.family_id) == (digest_of(session.refresh_token), family.id)
    assert token.expires_ms == family.expires_ms == shop.clock.now_ms() + MONTH_MS
    assert (family.account_id, family.revoked_ms, token.rotated_ms) == (account.id, None, None)
    stored = repr([await shop.rows(table) for table in (accounts, families, tokens, guesses)])
    assert session.refresh_token not in stored and PASSWORD not in stored


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, PASSWORD + "!"),
        (EMAIL, ""),
        (EMAIL, "\x00"),
        (EMAIL, "密" * 128),
        ("bob@example.org", PASSWORD),
    ],
)
async def test_wrong_credentials_open_no_session_and_say_no_more(shop: Shop, email: str, password: str):
    await shop.register()
    with pytest.raises(WrongCredentials) as refused:
        await shop.sessions.log_in(email, password, HOME)
    assert (refused.value.detail, refused.value.extra) == (WrongCredentials.title, {})
    assert not await shop.rows(families)


async def test_buyers_without_a_password_cannot_log_in(shop: Shop):
    await shop.service.create_buyers(1, 60)
    for email in ("none@example.org", "null@example.org"):
        with pytest.raises(WrongCredentials):
            await shop.sessions.log_in(email, "", HOME)
    assert not await shop.rows(families)


async def test_a_password_is_hashed_anew_when_the_cost_has_changed(shop: Shop):
    await shop.register()
    [before] = await shop.rows(accounts)
    dearer = argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=2, memory_cost=16, parallelism=1)
    built = build(shop.platform, shop.database, shop.ring, dearer)
    outcomes = await all_at_once(lambda _: built.sessions.log_in(EMAIL, PASSWORD, HOME), 3)
    assert len(of_type(outcomes, Tokens)) == 3, "rehashing is no change of the password"
    [after] = await shop.rows(accounts)
    assert argon2.extract_parameters(after.password_hash) == dearer
    assert argon2.extract_parameters(before.password_hash) != dearer
    await built.sessions.log_in(EMAIL, PASSWORD, HOME)
    assert await shop.rows(accounts) == [after], "and not again"


async def test_a_refresh_token_is_exchanged_for_a_new_one_of_the_same_family(shop: Shop):
    account = await shop.register()
    first = await log_in(shop)
    shop.clock.advance(60_000)
    second = await shop.sessions.refresh(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert shop.ring.verify(second.access_token.encode()) == Principal(account.id, "customer")
    [family] = await shop.rows(families)
    rows = {row.digest: row for row in await shop.rows(tokens)}
    assert rows[digest_of(first.refresh_token)].rotated_ms == shop.clock.now_ms()
    assert rows[digest_of(second.refresh_token)].rotated_ms is None
    assert {row.family_id for row in rows.values()} == {family.id}
    assert family.expires_ms == shop.clock.now_ms() + MONTH_MS
    assert family.revoked_ms is None


async def test_using_a_token_again_ends_the_family_for_good_although_the_answer_is_an_error(shop: Shop):
    await shop.register()
    other = await log_in(shop)
    first = await log_in(shop)
    second = await shop.sessions.refresh(first.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(first.refresh_token)
    untouched, family = await shop.rows(families)
    assert (family.revoked_ms, family.revoked_because) == (shop.clock.now_ms(), "reuse")
    assert untouched.revoked_ms is None, "other log-ins of the account go on"
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(second.refresh_token)
    assert len(await shop.rows(tokens)) == 3, "and no token was made"
    await shop.sessions.refresh(other.refresh_token)


async def test_of_two_exchanges_at_once_one_wins_and_the_other_ends_the_family(shop: Shop):
    await shop.register()
    for _ in range(5):
        session = await log_in(shop)
        outcomes = await all_at_once(lambda _, token=session.refresh_token: shop.sessions.refresh(token), 2)
        [winner] = of_type(outcomes, Tokens)
        assert len(of_type(outcomes, InvalidRefreshToken)) == 1
        family = (await shop.rows(families))[-1]
        assert family.revoked_because == "reuse"
        kin = await shop.rows(tokens, tokens.c.family_id == family.id)
        assert {row.digest: row.rotated_ms is None for row in kin} == {
            digest_of(session.refresh_token): False,
            digest_of(winner.refresh_token): True,
        }
        with pytest.raises(InvalidRefreshToken):
            await shop.sessions.refresh(winner.refresh_token)


async def test_of_many_exchanges_at_once_one_wins(shop: Shop):
    await shop.register()
    session = await log_in(shop)
    outcomes = await all_at_once(lambda _: shop.sessions.refresh(session.refresh_token), 10)
    assert len(of_type(outcomes, Tokens)) == 1
    assert len(of_type(outcomes, InvalidRefreshToken)) == 9
    assert len(await shop.rows(tokens)) == 2


async def test_an_unknown_or_expired_refresh_token_is_refused(shop: Shop):
    await shop.register()
    session = await log_in(shop)
    for forged in ("", "x" * 43, session.refresh_token[:-1], session.refresh_token.swapcase()):
        with pytest.raises(InvalidRefreshToken):
            await shop.sessions.refresh(forged)
    shop.clock.advance(MONTH_MS)
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(session.refresh_token)
    assert len(await shop.rows(tokens)) == 1


async def test_refreshing_picks_up_the_accounts_present_role(shop: Shop):
    account = await shop.register()
    session = await log_in(shop)
    await shop.database.write(lambda tx: tx.execute(accounts.update().values(role="support")))
    session = await shop.sessions.refresh(session.refresh_token)
    assert shop.ring.verify(session.access_token.encode()) == Principal(account.id, "support")


async def test_logging_out_ends_the_session_and_no_other(shop: Shop):
    await shop.register()
    here, there = await log_in(shop), await log_in(shop, AWAY)
    await shop.sessions.log_out(here.refresh_token)
    ended, alive = await shop.rows(families)
    assert (ended.revoked_because, alive.revoked_ms) == ("log-out", None)
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(here.refresh_token)
    await shop.sessions.refresh(there.refresh_token)


async def test_logging_out_with_an_exchanged_token_ends_its_session_too(shop: Shop):
    await shop.register()
    first = await log_in(shop)
    second = await shop.sessions.refresh(first.refresh_token)
    await shop.sessions.log_out(first.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(second.refresh_token)


async def test_logging_out_again_or_with_nonsense_changes_nothing(shop: Shop):
    await shop.register()
    session = await log_in(shop)
    await shop.sessions.log_out("nonsense")
    await shop.sessions.log_out(session.refresh_token)
    before = await shop.rows(families)
    shop.clock.advance(1000)
    await shop.sessions.log_out(session.refresh_token)
    assert await shop.rows(families) == before


async def test_logging_out_while_refreshing_always_ends_the_session(shop: Shop):
    await shop.register()
    for _ in range(5):
        session = await log_in(shop)
        token = session.refresh_token
        work = (shop.sessions.refresh, shop.sessions.log_out)
        outcomes = await all_at_once(lambda number, token=token, work=work: work[number](token), 2)
        assert (await shop.rows(families))[-1].revoked_because == "log-out"
        for won in of_type(outcomes, Tokens):
            with pytest.raises(InvalidRefreshToken):
                await shop.sessions.refresh(won.refresh_token)


async def test_one_log_in_too_many_ends_the_oldest_session(shop: Shop):
    await shop.register()
    sessions = [await log_in(shop) for _ in range(FAMILIES_MAX + 2)]
    rows = await shop.rows(families)
    assert [row.revoked_because for row in rows] == ["too-many"] * 2 + [None] * FAMILIES_MAX
    with pytest.raises(InvalidRefreshToken):
        await shop.sessions.refresh(sessions[1].refresh_token)
    await shop.sessions.refresh(sessions[2].refresh_token)


async def test_sessions_that_ended_do_not_count(shop: Shop):
    await shop.register()
    sessions = [await log_in(shop) for _ in range(FAMILIES_MAX)]
    await shop.sessions.log_out(sessions[5].refresh_token)
    await log_in(shop)
    assert [row.revoked_because for row in await shop.rows(families)].count("too-many") == 0


async def test_sessions_that_have_expired_do_not_push_out_an_older_one_that_is_still_used(shop: Shop):
    await shop.register()
    oldest = await log_in(shop)
    for _ in range(FAMILIES_MAX - 1):
        await log_in(shop)
    shop.clock.advance(MONTH_MS - 1)
    oldest = await shop.sessions.refresh(oldest.refresh_token)
    shop.clock.advance(1)
    for _ in range(FAMILIES_MAX - 1):
        await log_in(shop)
    await shop.sessions.refresh(oldest.refresh_token)


async def test_concurrent_log_ins_leave_no_more_than_the_bound(shop: Shop):
    await shop.register()
    for _ in range(FAMILIES_MAX - 2):
        await log_in(shop)
    outcomes = await all_at_once(lambda number: log_in(shop, f"203.0.113.{number}"), 8)
    assert len(of_type(outcomes, Tokens)) == 8
    live = await shop.rows(families, families.c.revoked_ms.is_(None))
    assert len(live) == FAMILIES_MAX


async def test_a_password_that_is_replaced_during_a_log_in_opens_no_session(shop: Shop):
    await shop.register()
    proven = await shop.sessions._check.prove(EMAIL, PASSWORD, HOME)
    await shop.service.ensure_staff(EMAIL, "another password", "support")
    with pytest.raises(WrongCredentials):
        await shop.database.write(lambda tx: shop.sessions._open(tx, proven, 1, "token"))
    assert not await shop.rows(families)
