"""Products: created once, changed by their own, found by everybody."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from contexts.catalog.goods import (
    ADMIN,
    MERCHANT,
    ONLOOKERS,
    RIVAL,
    draft,
    event_rows,
    everything,
    product_rows,
    sku,
    sku_rows,
)
from doorbuster.contexts.catalog.model import ProductChange, SkuChange
from doorbuster.contracts.catalog import (
    Bilingual,
    NotYourProduct,
    ProductChanged,
    ProductInvalid,
    ProductNotFound,
    ProductPublished,
    SkuCodeTaken,
    SkuNotFound,
)
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.ids import shard_of
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.idempotency import idempotency_keys


async def test_a_created_product_is_in_the_rows_with_its_skus_and_its_event(service, database, clock):
    wanted = draft(
        skus=(sku("T-1", 1990, name="Small / 小"), sku("T-2", 2990, active=False)),
        description=Bilingual("For two.\nOr three.", None),
        brand="Slow Kettle 慢壶",
        media=("https://a.example/1.jpg", "https://a.example/2.jpg"),
    )
    product = await service.create(MERCHANT, "k1", wanted)

    (row,) = await product_rows(database)
    assert row == {
        "id": product.id,
        "merchant_id": MERCHANT.account_id,
        "title_en": "Tea Tray",
        "title_zh": "茶盘",
        "description_en": "For two.\nOr three.",
        "description_zh": None,
        "category": "tea",
        "brand": "Slow Kettle 慢壶",
        "media": '["https://a.example/1.jpg","https://a.example/2.jpg"]',
        "status": "active",
        "version": 1,
        "created_ms": clock.now_ms(),
        "updated_ms": clock.now_ms(),
    }
    stored = [
        (row["code"], row["position"], row["price_amount"], row["currency"], row["active"])
        for row in await sku_rows(database)
    ]
    assert stored == [("T-1", 0, 1990, "CNY", True), ("T-2", 1, 2990, "CNY", False)]
    (event,) = await event_rows(database)
    assert event["type"] == "catalog.product-published"
    assert msgspec.json.decode(event["payload"], type=ProductPublished) == ProductPublished(product.id, 1)
    assert await service.product(None, product.id) == product
    assert shard_of(product.id) == shard_of(MERCHANT.account_id)


async def test_creating_wakes_the_relay(service, platform):
    woken = platform.wakeups.subscribe("catalog")
    await service.create(MERCHANT, "k1", draft())
    assert woken.is_set()


async def test_the_same_key_gives_the_same_product_once(service, database):
    first = await service.create(MERCHANT, "k1", draft())
    before = await everything(database)
    again = await asyncio.gather(*(service.create(MERCHANT, "k1", draft()) for _ in range(5)))
    assert again == [first] * 5
    assert await everything(database) == before


async def test_a_key_belongs_to_one_request_and_one_merchant(service, database):
    await service.create(MERCHANT, "k1", draft("A"))
    before = await everything(database)
    with pytest.raises(IdempotencyKeyReused):
        await service.create(MERCHANT, "k1", draft("B"))
    assert await everything(database) == before
    other = await service.create(RIVAL, "k1", draft("A"))
    assert other.merchant_id == RIVAL.account_id


async def test_a_refused_product_leaves_no_row_and_does_not_bind_its_key(service, database):
    with pytest.raises(ProductInvalid):
        await service.create(MERCHANT, "k1", draft(category="?"))
    assert await everything(database) == ([], [], [])
    await service.create(MERCHANT, "k1", draft())


@pytest.mark.parametrize("principal", ONLOOKERS, ids=lambda principal: principal.role)
async def test_only_merchants_and_admins_create_and_change(service, database, principal):
    product = await service.create(MERCHANT, "k1", draft())
    before = await everything(database)
    with pytest.raises(Forbidden):
        await service.create(principal, "k2", draft("X"))
    with pytest.raises(Forbidden):
        await service.change(principal, product.id, ProductChange(1, status="archived"))
    assert await everything(database) == before


async def test_a_role_that_sells_nothing_cannot_change_even_what_bears_its_number(service, database):
    product = await service.create(MERCHANT, "k1", draft())
    before = await everything(database)
    same_number = msgspec.structs.replace(MERCHANT, role="customer")
    with pytest.raises(Forbidden):
        await service.change(same_number, product.id, ProductChange(1, status="draft"))
    assert await everything(database) == before


async def test_a_code_is_unique_per_merchant(service, database):
    await service.create(MERCHANT, "k1", draft("A", "B"))
    before = await everything(database)
    with pytest.raises(SkuCodeTaken) as taken:
        await service.create(MERCHANT, "k2", draft("C", "B"))
    assert taken.value.extra == {"code": "B"}
    assert await everything(database) == before
    await service.create(RIVAL, "k3", draft("B"))


async def test_of_many_who_want_the_same_code_one_gets_it(service, database):
    outcomes = await asyncio.gather(
        *(service.create(MERCHANT, f"k{n}", draft("SAME", f"OWN-{n}")) for n in range(8)),
        return_exceptions=True,
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, SkuCodeTaken) for outcome in outcomes) == 7
    assert len(await product_rows(database)) == 1
    assert len(await sku_rows(database)) == 2
    assert len(await event_rows(database)) == 1


async def test_a_change_writes_what_it_names_and_nothing_else(service, database, clock):
    product = await service.create(MERCHANT, "k1", draft("A", "B"))
    clock.advance(5000)
    change = ProductChange(
        1,
        title=Bilingual(zh="大茶盘"),
        status="archived",
        skus=(
            SkuChange("B", price=Money(2500, "CNY"), active=False),
            SkuChange("C", "Large", Money(9, "CNY")),
        ),
    )
    after = await service.change(MERCHANT, product.id, change)
    assert after == await service.product(None, product.id)
    (row,) = await product_rows(database)
    assert (row["title_en"], row["title_zh"], row["status"], row["category"], row["version"]) == (
        None,
        "大茶盘",
        "archived",
        "tea",
        2,
    )
    assert row["updated_ms"] - row["created_ms"] == 5000
    stored = [(row["code"], row["position"], row["price_amount"], row["active"]) for row in await sku_rows(database)]
    assert stored == [("A", 0, 1990, True), ("B", 1, 2500, False), ("C", 2, 9, True)]
    assert [msgspec.json.decode(event["payload"])["version"] for event in await event_rows(database)] == [
        1,
        2,
    ]


async def test_a_change_that_changes_nothing_writes_nothing(service, database):
    product = await service.create(MERCHANT, "k1", draft())
    before = await everything(database)
    assert await service.change(MERCHANT, product.id, ProductChange(1, category="tea")) == product
    assert await everything(database) == before


async def test_a_stale_version_is_refused(service, database):
    product = await service.create(MERCHANT, "k1", draft())
    await service.change(MERCHANT, product.id, ProductChange(1, brand="One"))
    before = await everything(database)
    for version in (1, 3):
        with pytest.raises(ProductChanged) as changed:
            await service.change(MERCHANT, product.id, ProductChange(version, brand="Two"))
        assert changed.value.extra == {"version": 2}
    assert await everything(database) == before


async def test_of_many_changes_of_one_version_one_wins(service, database):
    product = await service.create(MERCHANT, "k1", draft())
    outcomes = await asyncio.gather(
        *(
            service.change(
                MERCHANT,
                product.id,
                ProductChange(1, brand=f"Brand {n}", skus=(SkuChange(f"N-{n}", "n", Money(n, "CNY")),)),
            )
            for n in range(12)
        ),
        return_exceptions=True,
    )
    (winner,) = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert sum(isinstance(outcome, ProductChanged) for outcome in outcomes) == 11
    (row,) = await product_rows(database)
    assert (row["version"], row["brand"]) == (2, winner.brand)
    assert [row["code"] for row in await sku_rows(database)] == [sku.code for sku in winner.skus]
    assert len(await event_rows(database)) == 2


async def test_a_code_of_another_product_cannot_be_added(service, database):
    await service.create(MERCHANT, "k1", draft("A"))
    product = await service.create(MERCHANT, "k2", draft("B"))
    before = await everything(database)
    change = ProductChange(1, brand="New", skus=(SkuChange("A", "a", Money(1, "CNY")),))
    with pytest.raises(SkuCodeTaken):
        await service.change(MERCHANT, product.id, change)
    assert await everything(database) == before


async def test_a_draft_of_another_merchant_does_not_exist(service, database):
    product = await service.create(MERCHANT, "k1", draft(status="draft"))
    before = await everything(database)
    for principal in (RIVAL, None, *ONLOOKERS):
        with pytest.raises(ProductNotFound):
            await service.product(principal, product.id)
    with pytest.raises(ProductNotFound):
        await service.change(RIVAL, product.id, ProductChange(1, status="active"))
    assert await everything(database) == before
    assert await service.product(MERCHANT, product.id) == product
    assert await service.product(ADMIN, product.id) == product


@pytest.mark.parametrize("status", ["active", "archived"])
async def test_what_others_can_see_of_another_merchant_cannot_be_changed(service, database, status):
    product = await service.create(MERCHANT, "k1", draft(status=status))
    before = await everything(database)
    with pytest.raises(NotYourProduct):
        await service.change(RIVAL, product.id, ProductChange(1, status="draft"))
    assert await everything(database) == before
    assert await service.product(None, product.id) == product


async def test_an_admin_changes_any_product_and_it_stays_the_merchants(service, database):
    product = await service.create(MERCHANT, "k1", draft())
    change = ProductChange(1, brand="Seen to", skus=(SkuChange("NEW", "n", Money(1, "CNY")),))
    await service.change(ADMIN, product.id, change)
    (row,) = await product_rows(database)
    assert (row["merchant_id"], row["brand"]) == (MERCHANT.account_id, "Seen to")
    assert {row["merchant_id"] for row in await sku_rows(database)} == {MERCHANT.account_id}


async def test_a_product_that_never_was_is_not_found(service):
    with pytest.raises(ProductNotFound):
        await service.product(ADMIN, 5)
    with pytest.raises(ProductNotFound):
        await service.change(ADMIN, 5, ProductChange(1))
    with pytest.raises(SkuNotFound):
        await service.sku(5)


async def test_a_sku_tells_its_seller_all(service):
    wanted = draft(skus=(sku("A", 1990), sku("B", 2990, name="Large / 大", active=False)))
    product = await service.create(MERCHANT, "k1", wanted)
    plain, large = [await service.sku(sku.id) for sku in product.skus]
    assert (plain.title, plain.code, plain.price, plain.active) == (
        "Tea Tray / 茶盘",
        "A",
        Money(1990, "CNY"),
        True,
    )
    assert (large.title, large.active) == ("Tea Tray / 茶盘 · Large / 大", False)
    assert (plain.product_id, plain.merchant_id) == (product.id, MERCHANT.account_id)
    await service.change(MERCHANT, product.id, ProductChange(1, status="draft"))
    assert not (await service.sku(product.skus[0].id)).active


async def test_the_list_shows_what_is_on_sale(service):
    shown = [await service.create(MERCHANT, f"a{n}", draft(f"A-{n}")) for n in range(3)]
    await service.create(MERCHANT, "d", draft("D", status="draft"))
    await service.create(MERCHANT, "r", draft("R", status="archived"))
    pots = await service.create(RIVAL, "p", draft("P", category="tea-pots"))
    assert (await service.products(0, 100)).items == [*shown, pots]
    assert (await service.products(0, 100, "tea-pots")).items == [pots]
    assert (await service.products(0, 100, "nothing")).items == []


async def test_a_last_page_that_is_full_has_no_next_one(service):
    for n in range(4):
        await service.create(MERCHANT, f"k{n}", draft(f"A-{n}"))
    page = await service.products(0, 2)
    assert page.next_after == page.items[-1].id
    last = await service.products(page.next_after, 2)
    assert (len(last.items), last.next_after) == (2, None)


async def test_paging_is_complete_and_without_doubles_while_products_are_added(service):
    there = [(await service.create(MERCHANT, f"k{n}", draft(f"A-{n}"))).id for n in range(25)]
    seen: list[int] = []
    after, added = 0, 0
    for _ in range(100):
        page = await service.products(after, 4)
        seen += [product.id for product in page.items]
        if page.next_after is None:
            break
        after = page.next_after
        if added < 10:
            await service.create(RIVAL, f"new{added}", draft(f"NEW-{added}"))
            added += 1
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)
    assert seen == sorted(seen)


async def test_categories_are_those_with_something_on_sale(service):
    assert await service.categories() == []
    for n, (category, status) in enumerate(
        [
            ("tea", "active"),
            ("bags", "active"),
            ("tea", "active"),
            ("secret", "draft"),
            ("gone", "archived"),
            ("a-z", "active"),
        ]
    ):
        await service.create(MERCHANT, f"k{n}", draft(f"A-{n}", category=category, status=status))
    assert await service.categories() == ["a-z", "bags", "tea"]


async def test_a_stored_answer_is_bound_to_its_scope(service, database):
    await service.create(MERCHANT, "k1", draft())
    scopes = await database.read(
        lambda tx: list(tx.execute(idempotency_keys.select().with_only_columns(idempotency_keys.c.scope)))
    )
    assert [tuple(scope) for scope in scopes] == [(f"product:{MERCHANT.account_id}",)]
