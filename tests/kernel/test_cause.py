"""The cause of an event as one line of text: what a request makes, and what is read of a column."""

from __future__ import annotations

import contextvars

import pytest

from doorbuster.kernel.cause import Cause, cause_in, text_of
from doorbuster.kernel.request_context import RequestContext, current_cause, working_on

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GOOD = f"{PARENT} order-7.b_2"


def test_a_request_gives_its_id_and_its_own_hop():
    request = RequestContext("mine", "GET", "/v1/products", 2**63 + 1, 7)
    request.continue_trace(PARENT)
    cause = request.cause
    assert cause.request_id == "mine"
    assert cause.traceparent == f"00-{PARENT[3:35]}-{request.trace.span_id}-01"
    assert (cause.trace_id, cause.traceparent[36:52]) == (PARENT[3:35], request.trace.span_id)
    assert cause_in(text_of(cause)) == cause
    assert request.cause is cause, "the text is made once"


def test_a_request_without_a_trace_has_one_of_its_own():
    causes = {RequestContext("mine", "GET", "/", 2**63 + 1, number).cause.trace_id for number in range(100)}
    assert len(causes) == 100


def test_the_longest_text_is_bounded():
    request = RequestContext("x" * 64, "GET", "/", 2**64 - 1, 2**40)
    request.continue_trace(PARENT, "a=" + "b" * 500)
    assert len(text_of(request.cause)) == 120
    assert cause_in(text_of(request.cause)) == request.cause


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        PARENT,
        f"{PARENT} ",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD} more",
        f"{PARENT} {'x' * 65}",
        f"{PARENT} -x",
        f"{PARENT} naïve",
        f"{PARENT.upper()} x",
        f"{PARENT[:-1]} x",
        f"01{GOOD[2:]}",
        "\x00" * 60,
    ],
)
def test_what_is_malformed_is_none(text: str):
    assert cause_in(text) is None


def test_what_is_well_formed_is_read():
    cause = cause_in(GOOD)
    assert cause == Cause(GOOD)
    assert (cause.traceparent, cause.request_id) == (PARENT, "order-7.b_2")


def test_only_what_a_request_waits_for_has_a_cause():
    assert current_cause() is None
    assert text_of(None) == ""
    request = RequestContext("mine", "GET", "/", 1, 1)

    def within() -> None:
        working_on(request)
        assert current_cause() is request.cause

    contextvars.copy_context().run(within)
