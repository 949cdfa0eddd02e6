"""What a payment may become, what must agree, and what a ledger refuses."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from doorbuster.contexts.payments.model import (
    CAPTURABLE,
    MOVES,
    OPEN,
    PAID,
    STATUSES,
    Disagreement,
    Entry,
    Intent,
    LedgerTransaction,
    Pace,
    PaymentRecord,
    RefundRecord,
    Unbalanced,
    answer_of,
    capture_of,
    refund_of,
    require_agreement,
    sources,
    target_of,
)
from doorbuster.contracts.payments import AlreadyPaid, PaymentClosed, PaymentInProgress

PENDING = PaymentRecord(
    id=1,
    order_id=2,
    customer_id=3,
    provider="simulator",
    reference="pay_1",
    idempotency_key="key",
    method=None,
    amount=1990,
    currency="CNY",
    status="pending",
    decline=None,
    checkout_url="http://provider/pay_1",
    lease_until_ms=None,
    next_check_ms=0,
    checks=0,
    captured_amount=0,
    refund_requested=0,
    refunded_amount=0,
    created_ms=0,
    updated_ms=0,
    captured_ms=None,
    refunded_ms=None,
)
CAPTURED = Intent(1, "pay_1", "captured", 2, 1990, "CNY", 1990, 0)
REFUND = RefundRecord(
    id=9,
    payment_id=1,
    cause="customer",
    amount=1990,
    currency="CNY",
    status="requested",
    attempts=0,
    next_try_ms=0,
    created_ms=0,
    succeeded_ms=None,
)


def test_every_status_has_its_moves_and_every_move_leads_to_a_status():
    assert set(MOVES) == set(STATUSES)
    assert all(set(onward) <= set(STATUSES) for onward in MOVES.values())


def test_only_a_capture_lets_money_in_and_only_a_refund_lets_it_out():
    for status, onward in MOVES.items():
        for to in onward:
            assert (status in PAID) <= (to in PAID), f"{status} to {to} forgets money"
            assert (status not in PAID and to in PAID) <= (to == "captured")


def test_a_capture_wins_over_everything_that_is_not_paid():
    assert set(sources("captured")) == {"in_progress", "pending", "failed", "cancelled"}
    assert set(sources("failed")) == {"in_progress", "pending"}
    assert set(sources("refunded")) == {"refunding"}


def test_what_is_open_may_be_captured():
    assert set(OPEN) < set(CAPTURABLE)
    assert all("captured" in MOVES[status] and "cancelled" in MOVES[status] for status in CAPTURABLE)


@pytest.mark.parametrize(
    ("status", "to"),
    [
        ("requires_payment", None),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("captured", "captured"),
        ("refunded", "captured"),
    ],
)
def test_the_providers_word_names_a_status(status: str, to: str | None):
    assert target_of(replace(CAPTURED, status=status)) == to


@pytest.mark.parametrize(
    "change",
    [
        {"payment_id": 4},
        {"order_id": 4},
        {"amount": 1991},
        {"currency": "USD"},
        {"captured": 1989},
        {"captured": 0},
        {"reference": "pay_2"},
        {"status": "cancelled"},
    ],
)
def test_a_word_about_something_else_is_not_taken(change: dict[str, object]):
    assert require_agreement(PENDING, CAPTURED) == CAPTURED
    with pytest.raises(Disagreement):
        require_agreement(PENDING, replace(CAPTURED, **change))


def test_a_payment_in_progress_learns_its_reference():
    begun = replace(PENDING, status="in_progress", reference=None, checkout_url=None)
    assert require_agreement(begun, CAPTURED).reference == "pay_1"


def test_the_answer_is_the_first_one_whatever_came_after():
    for status in ("pending", "captured", "failed", "cancelled", "refunded"):
        assert answer_of(replace(PENDING, status=status)) == PENDING.as_payment()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("in_progress", PaymentInProgress),
        ("captured", AlreadyPaid),
        ("refunding", AlreadyPaid),
        ("cancelled", PaymentClosed),
    ],
)
def test_without_an_answer_the_reason_is_told(status: str, error: type[Exception]):
    with pytest.raises(error):
        answer_of(replace(PENDING, status=status, checkout_url=None))


def test_a_capture_and_its_refund_cancel_out():
    capture, refund = capture_of(PENDING, 5), refund_of(PENDING, REFUND, 6)
    assert sorted((entry.account, entry.amount) for entry in capture.entries) == [
        ("customers", -1990),
        ("provider:simulator", 1990),
    ]
    assert [entry.amount for entry in refund.entries] == [-entry.amount for entry in capture.entries]


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (Entry("a", 1, "CNY"),),
        (Entry("a", 1, "CNY"), Entry("b", -2, "CNY")),
        (Entry("a", 1, "CNY"), Entry("b", -1, "USD")),
    ],
)
def test_what_does_not_balance_cannot_be_written(entries: tuple[Entry, ...]):
    with pytest.raises(Unbalanced):
        LedgerTransaction(1, 2, 0, "capture", "captured", entries)


def test_pauses_grow_and_stay_bounded():
    pace = Pace()
    tries = [pace.next_try_ms(0, attempts) for attempts in range(1, 200)]
    checks = [pace.next_check_ms(0, count) for count in range(200)]
    assert tries[:3] == [1000, 2000, 4000]
    assert checks[:3] == [15_000, 30_000, 60_000]
    for pauses, cap in ((tries, pace.refund_cap_ms), (checks, pace.check_cap_ms)):
        assert all(before <= after for before, after in pairwise(pauses))
        assert pauses[-1] == cap
