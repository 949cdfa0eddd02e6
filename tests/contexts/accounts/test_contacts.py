"""How others learn where somebody is reached."""

from __future__ import annotations

import pytest

from contexts.accounts.accounts_shop import EMAIL, PASSWORD, Shop
from doorbuster.contracts.accounts import Accounts, Contact
from doorbuster.kernel.errors import Invalid


async def test_contacts_are_those_that_exist_in_order(shop: Shop):
    neighbours_view: Accounts = shop.service
    ann = await shop.register()
    boss = await shop.service.ensure_staff("boss@example.org", PASSWORD, "merchant")
    (buyer,) = await shop.service.create_buyers(1, 60)
    expected = [
        Contact(ann.id, EMAIL, "Ann", "customer"),
        Contact(boss.id, "boss@example.org", "boss", "merchant"),
        Contact(buyer.id, None, "Buyer", "customer"),
    ]
    found = await neighbours_view.contacts([boss.id, 5, buyer.id, ann.id, ann.id])
    assert found == sorted(expected, key=lambda contact: contact.account_id)
    assert await neighbours_view.contacts([]) == []


async def test_contacts_are_asked_for_in_bounded_lists(shop: Shop):
    with pytest.raises(Invalid):
        await shop.service.contacts(range(1, 1002))
    assert await shop.service.contacts(range(1, 1001)) == []
