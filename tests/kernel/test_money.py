"""Amounts: whole minor units, within bounds, never of two currencies at once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.kernel.money import AMOUNT_MAX, CurrencyMismatch, Money

amounts = st.integers(-AMOUNT_MAX // 2, AMOUNT_MAX // 2)


@given(amounts, amounts)
def test_a_sum_is_exact_in_either_order(a: int, b: int):
    assert Money(a, "CNY") + Money(b, "CNY") == Money(b, "CNY") + Money(a, "CNY") == Money(a + b, "CNY")


@given(st.integers(0, 10**9), st.integers(0, 1000))
def test_times_a_quantity_is_that_many_added_up(amount: int, quantity: int):
    assert Money(amount, "EUR").times(quantity) == Money(amount * quantity, "EUR")


def test_two_currencies_are_never_combined():
    with pytest.raises(CurrencyMismatch, match="CNY and USD"):
        Money(1, "CNY") + Money(1, "USD")


def test_nor_compared():
    with pytest.raises(TypeError):
        Money(1, "CNY") < Money(2, "USD")  # pyright: ignore  # noqa: B015


@pytest.mark.parametrize("amount", [AMOUNT_MAX + 1, -AMOUNT_MAX - 1, 2**63])
def test_an_amount_out_of_range_is_refused(amount: int):
    with pytest.raises(ValueError, match="out of range"):
        Money(amount, "CNY")


def test_a_sum_or_a_product_out_of_range_is_refused_and_not_wrapped():
    with pytest.raises(ValueError, match="out of range"):
        Money(AMOUNT_MAX, "CNY") + Money(1, "CNY")
    with pytest.raises(ValueError, match="out of range"):
        Money(AMOUNT_MAX, "CNY").times(2)


@pytest.mark.parametrize("currency", ["", "CN", "CNYY", "cny", "CN¥", "ＣＮＹ", "CNY\n", " CNY", "123"])
def test_what_is_no_currency_code_is_refused(currency: str):
    with pytest.raises(ValueError, match="not an ISO 4217"):
        Money(1, currency)


@given(amounts)
def test_it_survives_json(amount: int):
    money = Money(amount, "CNY")
    assert msgspec.json.decode(msgspec.json.encode(money), type=Money) == money


@pytest.mark.parametrize(
    "text", [b'{"amount":1.5,"currency":"CNY"}', b'{"amount":"1","currency":"CNY"}', b'{"amount":1,"currency":"cny"}']
)
def test_what_it_is_not_is_refused_by_the_decoder(text: bytes):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Money)
