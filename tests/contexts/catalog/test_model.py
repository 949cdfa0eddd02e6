"""What a product may look like, and what a change makes of it."""

from __future__ import annotations

from itertools import count

import pytest

from contexts.catalog.goods import draft, sku
from doorbuster.contexts.catalog.model import (
    ProductChange,
    SkuChange,
    draft_after,
    new_product,
    problems_of,
    revised,
)
from doorbuster.contracts.catalog import Bilingual, ProductInvalid
from doorbuster.kernel.money import Money


def paths(wanted) -> list[str]:
    return [problem.path for problem in problems_of(wanted)]


def product(*codes: str):
    return new_product(draft(*codes), 7, 100, count(1).__next__)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"title": Bilingual()}, "title"),
        ({"title": Bilingual(en="x" * 201)}, "title.en"),
        ({"title": Bilingual(en="Tray", zh=" 茶盘")}, "title.zh"),
        ({"title": Bilingual(en="Tea\nTray")}, "title.en"),
        ({"title": Bilingual(en="Tea\x00Tray")}, "title.en"),
        ({"title": Bilingual(en="gnp.yart\u202e")}, "title.en"),
        ({"description": Bilingual(en="x" * 5001)}, "description.en"),
        ({"description": Bilingual(zh="")}, "description.zh"),
        ({"category": "Tea"}, "category"),
        ({"category": ""}, "category"),
        ({"category": "tea--pots"}, "category"),
        ({"category": "tea\n"}, "category"),
        ({"category": "t" * 65}, "category"),
        ({"brand": "b" * 101}, "brand"),
        ({"status": "sold"}, "status"),
        ({"media": ("https://a.example/x",) * 21}, "media"),
        ({"media": ("javascript:alert(1)",)}, "media"),
        ({"media": ("https://a.example/a b",)}, "media"),
        ({"media": ('https://a.example/"><script>',)}, "media"),
        ({"media": ("https://user:pass@a.example/",)}, "media"),
        ({"media": ("https://a.example/" + "x" * 500,)}, "media"),
        ({"skus": ()}, "skus"),
        ({"skus": tuple(sku(f"T-{n}") for n in range(51))}, "skus"),
        ({"skus": (sku("T-1"), sku("T-1"))}, "skus[1].code"),
        ({"skus": (sku(""),)}, "skus[0].code"),
        ({"skus": (sku("has space"),)}, "skus[0].code"),
        ({"skus": (sku("x" * 65),)}, "skus[0].code"),
        ({"skus": (sku(name="n" * 101),)}, "skus[0].name"),
        ({"skus": (sku(amount=-1),)}, "skus[0].price.amount"),
    ],
)
def test_a_wrong_value_is_named(more, path):
    assert paths(draft(**more)) == [path]


def test_one_language_is_enough_and_all_problems_are_found():
    assert paths(draft(title=Bilingual(zh="茶盘"))) == []
    assert paths(draft(title=Bilingual(en="Tray"), description=Bilingual(en="One\n\tTwo"))) == []
    assert paths(draft(title=Bilingual(), category="?", brand=" ")) == ["title", "category", "brand"]
    assert paths(draft(media=("https://a.example:8443/x/y.jpg?size=2#top", "http://localhost"))) == []


def test_what_a_change_does_not_name_stays():
    before = product("A", "B")
    change = ProductChange(1, brand="Mistwheel 雾轮", skus=(SkuChange("B", price=Money(5, "CNY")),))
    after = revised(before, draft_after(before, change), 200, count(50).__next__)
    assert (after.brand, after.title, after.version, after.updated_ms) == (
        "Mistwheel 雾轮",
        before.title,
        2,
        200,
    )
    assert after.skus[0] == before.skus[0]
    assert (after.skus[1].id, after.skus[1].price) == (before.skus[1].id, Money(5, "CNY"))


def test_a_change_that_changes_nothing_gives_the_same_product():
    before = product("A")
    change = ProductChange(1, category="tea", skus=(SkuChange("A", active=True),))
    assert revised(before, draft_after(before, change), 200, count().__next__) is before


def test_an_unknown_code_adds_a_sku_behind_the_others():
    before = product("A", "B")
    change = ProductChange(1, skus=(SkuChange("C", "Large", Money(7, "CNY")), SkuChange("A", active=False)))
    after = revised(before, draft_after(before, change), 200, count(50).__next__)
    assert [(sku.id, sku.code, sku.active) for sku in after.skus] == [
        (before.skus[0].id, "A", False),
        (before.skus[1].id, "B", True),
        (50, "C", True),
    ]


@pytest.mark.parametrize(
    "skus",
    [
        (SkuChange("A", price=Money(1, "CNY")), SkuChange("TYPO", price=Money(1, "CNY"))),
        (SkuChange("A"), SkuChange("A")),
        (SkuChange("A"), SkuChange("B?", "b", Money(1, "CNY"))),
    ],
)
def test_a_wrong_sku_in_a_change_is_named(skus):
    before = product("A")
    with pytest.raises(ProductInvalid) as refusal:
        draft_after(before, ProductChange(1, skus=skus))
    assert str(refusal.value.extra["field"]).startswith("skus[1]")


def test_a_product_cannot_grow_beyond_50_skus():
    before = product(*(f"A-{n}" for n in range(49)))
    more = tuple(SkuChange(f"B-{n}", "b", Money(1, "CNY")) for n in range(2))
    draft_after(before, ProductChange(1, skus=more[:1]))
    with pytest.raises(ProductInvalid, match="51 SKUs"):
        draft_after(before, ProductChange(1, skus=more))
