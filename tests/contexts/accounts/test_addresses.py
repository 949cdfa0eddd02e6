"""Addresses belong to one account."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from contexts.accounts.accounts_shop import PARCEL, Shop, all_at_once, of_type, principal
from doorbuster.contexts.accounts.model import ADDRESSES_MAX, Address
from doorbuster.contexts.accounts.tables import addresses
from doorbuster.contracts.accounts import AccountGone, AddressNotFound, InvalidText, TooManyAddresses
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.ids import shard_of
from doorbuster.kernel.principal import Principal


async def test_an_address_is_added_listed_and_deleted(shop: Shop):
    ann = principal(await shop.register())
    first = await shop.service.add_address(ann, PARCEL, "1")
    second = await shop.service.add_address(ann, replace(PARCEL, city="上海 "), "2")
    assert second.city == "上海"
    assert await shop.service.addresses(ann) == [first, second]
    assert {shard_of(address.id) for address in (first, second)} == {shard_of(ann.account_id)}
    await shop.service.delete_address(ann, first.id)
    assert await shop.service.addresses(ann) == [second]
    assert [row.id for row in await shop.rows(addresses)] == [second.id]
    with pytest.raises(AddressNotFound):
        await shop.service.delete_address(ann, first.id)


async def test_somebody_elses_address_is_neither_seen_nor_deleted(shop: Shop):
    ann, bob = principal(await shop.register()), principal(await shop.register("bob@example.org"))
    address = await shop.service.add_address(ann, PARCEL, "1")
    before = await shop.rows(addresses)
    assert await shop.service.addresses(bob) == []
    for nosy in (bob, Principal(bob.account_id, "admin"), Principal(0, "customer")):
        with pytest.raises(AddressNotFound):
            await shop.service.delete_address(nosy, address.id)
    assert await shop.rows(addresses) == before


async def test_an_impossible_address_is_refused(shop: Shop):
    ann = principal(await shop.register())
    with pytest.raises(InvalidText):
        await shop.service.add_address(ann, replace(PARCEL, street=""), "1")
    assert not await shop.rows(addresses)


async def test_an_address_needs_its_account(shop: Shop):
    with pytest.raises(AccountGone):
        await shop.service.add_address(Principal(42, "customer"), PARCEL, "1")
    assert not await shop.rows(addresses)


async def test_a_repeated_request_adds_nothing(shop: Shop):
    ann = principal(await shop.register())
    outcomes = await all_at_once(lambda _: shop.service.add_address(ann, PARCEL, "1"), 5)
    assert len({address.id for address in of_type(outcomes, Address)}) == 1
    assert len(of_type(outcomes, Address)) == 5
    assert len(await shop.rows(addresses)) == 1
    with pytest.raises(IdempotencyKeyReused):
        await shop.service.add_address(ann, replace(PARCEL, city="上海"), "1")
    assert len(await shop.rows(addresses)) == 1


async def test_two_accounts_may_use_the_same_key(shop: Shop):
    ann, bob = principal(await shop.register()), principal(await shop.register("bob@example.org"))
    for each in (ann, bob):
        await shop.service.add_address(each, PARCEL, "1")
    assert [row.account_id for row in await shop.rows(addresses)] == [ann.account_id, bob.account_id]


async def test_concurrent_additions_stop_at_the_bound(shop: Shop):
    ann = principal(await shop.register())
    for number in range(ADDRESSES_MAX - 2):
        await shop.service.add_address(ann, PARCEL, f"{number}")
    outcomes = await all_at_once(lambda number: shop.service.add_address(ann, PARCEL, f"late-{number}"), 8)
    assert len(of_type(outcomes, Address)) == 2
    assert len(of_type(outcomes, TooManyAddresses)) == 6
    assert len(await shop.rows(addresses)) == ADDRESSES_MAX


async def test_a_deleted_address_makes_room_and_a_refused_key_may_be_used_again(shop: Shop):
    ann = principal(await shop.register())
    added = [await shop.service.add_address(ann, PARCEL, f"{number}") for number in range(ADDRESSES_MAX)]
    with pytest.raises(TooManyAddresses):
        await shop.service.add_address(ann, PARCEL, "late")
    await shop.service.delete_address(ann, added[0].id)
    await shop.service.add_address(ann, PARCEL, "late")
    assert len(await shop.rows(addresses)) == ADDRESSES_MAX
