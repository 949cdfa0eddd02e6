"""Instants and how they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.kernel.clock import ManualClock, SystemClock, parse_rfc3339, rfc3339

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MS = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
LAST_MS = (datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
instants = st.integers(FIRST_MS, LAST_MS)


@given(instants)
def test_what_is_written_reads_the_same(instant: int):
    assert parse_rfc3339(rfc3339(instant)) == instant


@given(instants, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_the_offset_does_not_change_the_instant(instant: int, offset_min: int):
    shift = timedelta(minutes=offset_min)
    try:
        local = EPOCH + timedelta(milliseconds=instant) + shift
    except OverflowError:
        return
    sign, of = ("-", -offset_min) if offset_min < 0 else ("+", offset_min)
    text = f"{local.replace(tzinfo=None).isoformat(timespec='milliseconds')}{sign}{of // 60:02}:{of % 60:02}"
    assert parse_rfc3339(text) == instant


@given(instants, st.integers(0, 999_999))
def test_what_is_finer_than_a_millisecond_is_cut_off(instant: int, nanos: int):
    assert parse_rfc3339(f"{rfc3339(instant)[:-1]}{nanos:06}Z") == instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-01T00:00:00.123Z", 1_767_225_600_123),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01t08:00:00z", 1_767_254_400_000),
        ("2026-01-01T08:00:00+08:00", 1_767_225_600_000),
        ("2025-12-31T19:00:00.5-05:00", 1_767_225_600_500),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("1969-12-31T23:59:59.999Z", -1),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999),
    ],
)
def test_times_of_all_shapes(text: str, instant: int):
    assert parse_rfc3339(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1767225600123",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+0800",
        "2026-01-01T00:00:00+08",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+99:99",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "-2026-01-01T00:00:00Z",
        "+2026-01-01T00:00:00Z",
        "2026-W01-1T00:00:00Z",
        "２０２６-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        " 2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00ZZ",
    ],
)
def test_garbage_is_refused(text: str):
    with pytest.raises(ValueError):
        parse_rfc3339(text)


@given(st.text(alphabet="0123456789-:.TtZz+ \n", max_size=40) | st.text(max_size=40))
def test_whatever_is_read_can_be_written(text: str):
    try:
        instant = parse_rfc3339(text)
    except ValueError:
        return
    assert parse_rfc3339(rfc3339(instant)) == instant


def test_a_manual_clock_moves_only_when_told_to():
    clock = ManualClock(5)
    assert (clock.now_ms(), clock.now_ms()) == (5, 5)
    clock.advance(-7)
    assert clock.now_ms() == -2


def test_the_system_clock_tells_the_time_of_day():
    before = datetime.now(UTC)
    instant = SystemClock().now_ms()
    assert before - timedelta(milliseconds=1) <= EPOCH + timedelta(milliseconds=instant) <= datetime.now(UTC)
