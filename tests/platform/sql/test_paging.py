"""Cursors: opaque, exact, and refused when they are not ours."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doorbuster.kernel.ids import ID_MAX
from doorbuster.platform.sql.paging import (
    LIMIT_MAX,
    BadCursor,
    BadLimit,
    checked_limit,
    decode_cursor,
    encode_cursor,
)


@given(st.integers(0, ID_MAX))
@example(0)
@example(ID_MAX)
def test_a_cursor_says_where_to_go_on(after: int):
    cursor = encode_cursor(after)
    assert decode_cursor(cursor) == after
    assert cursor.replace("-", "").replace("_", "").isalnum(), "fit for an address"


@given(st.text(max_size=30) | st.text(alphabet="ABCxyz019-_=+/", min_size=10, max_size=12))
@example("")
@example("AAAAAAAAAAA=")
@example("AAAAAAAAAA")
@example("AAAAAAAAAAAA")
@example("AAAAAAAA AAA")
@example("//////////8")
@example("gAAAAAAAAAA")
@example("AAAAAAAAAAB")
@example("A+AAAAAAAAA")
@example("AAAAAA/AAAA")
@example("ÄAAAAAAAAAA")
@example("٣AAAAAAAAAA")
def test_junk_is_refused_or_means_an_id_that_could_be_one(cursor: str):
    try:
        after = decode_cursor(cursor)
    except BadCursor:
        return
    assert 0 <= after <= ID_MAX
    assert encode_cursor(after) == cursor, "no two cursors mean the same"


@given(st.binary(max_size=20).filter(lambda raw: len(raw) != 8))
def test_another_length_is_refused(raw: bytes):
    with pytest.raises(BadCursor):
        decode_cursor(base64.urlsafe_b64encode(raw).decode().rstrip("="))


def test_what_is_above_every_id_is_refused():
    with pytest.raises(BadCursor):
        decode_cursor(encode_cursor(ID_MAX + 1))


def test_limits_are_bounded():
    assert [checked_limit(limit) for limit in (1, LIMIT_MAX)] == [1, LIMIT_MAX]
    for limit in (-1, 0, LIMIT_MAX + 1, 10**30):
        with pytest.raises(BadLimit):
            checked_limit(limit)
