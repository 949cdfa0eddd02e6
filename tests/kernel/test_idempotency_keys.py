"""Which texts are idempotency keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.kernel.idempotency import IdempotencyKeyInvalid, IdempotencyKeyMissing, checked_key

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@given(st.text(VISIBLE, min_size=1, max_size=64))
def test_1_to_64_visible_ascii_characters_are_a_key(key: str):
    assert checked_key(key) == key


@given(st.text(max_size=80).filter(lambda key: not 1 <= len(key) <= 64 or any(c not in VISIBLE for c in key)))
def test_anything_else_is_not(key: str):
    with pytest.raises(IdempotencyKeyInvalid):
        checked_key(key)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "\na", "a\x00", "a\x7f", "é", "键", "k" * 65, "ａ"])
def test_near_misses(key: str):
    with pytest.raises(IdempotencyKeyInvalid):
        checked_key(key)


def test_none_is_another_error_than_a_bad_one():
    with pytest.raises(IdempotencyKeyMissing):
        checked_key(None)
