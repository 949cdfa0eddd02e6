"""The sample catalogue imports as it is, reads well, and never changes by itself."""

from __future__ import annotations

import re

import pytest

from contexts.catalog.goods import MERCHANT, product_rows
from doorbuster.contexts.catalog.exchange import jsonl_format
from doorbuster.contracts.catalog import ImportReport
from doorbuster.lab.sample_catalogue import write_sample


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.jsonl"
    assert write_sample(path) == 320
    return path


def drafts_of(path):
    with path.open("rb") as file:
        return [entry.draft for entry in jsonl_format.read(file)]


async def test_it_imports_whole_and_twice_changes_nothing(service, database, sample):
    for expected in (
        ImportReport(ok=True, skus=880, created=320),
        ImportReport(ok=True, skus=880, unchanged=320),
    ):
        with sample.open("rb") as file:
            assert await service.import_products(file, "jsonl", MERCHANT.account_id) == expected
    assert {row["status"] for row in await product_rows(database)} == {"active"}
    assert len(await service.categories()) == 16


def test_every_product_has_a_name_and_a_description_of_its_own_in_both_languages(sample):
    drafts = drafts_of(sample)
    for texts in (
        [draft.title.en for draft in drafts],
        [draft.title.zh for draft in drafts],
        [draft.description.en for draft in drafts],
        [draft.description.zh for draft in drafts],
    ):
        assert len(set(texts)) == 320
    assert all(re.search("[\u4e00-\u9fff]", draft.title.zh) for draft in drafts)
    assert not any(re.search("[\u4e00-\u9fff]", draft.title.en + draft.description.en) for draft in drafts)
    assert all(draft.description.zh.endswith("。") for draft in drafts)
    assert len({draft.brand for draft in drafts}) == 12


def test_prices_are_such_as_shops_have(sample):
    skus = [sku for draft in drafts_of(sample) for sku in draft.skus]
    assert len({sku.code for sku in skus}) == 880
    assert {sku.price.currency for sku in skus} == {"CNY"}
    assert min(sku.price.amount for sku in skus) >= 500
    assert max(sku.price.amount for sku in skus) <= 200_000
    assert all(sku.price.amount % 100 == 90 or sku.price.amount % 1000 == 900 for sku in skus)


def test_it_is_the_same_every_time(sample, tmp_path):
    again = tmp_path / "again.jsonl"
    write_sample(again)
    assert again.read_bytes() == sample.read_bytes()
