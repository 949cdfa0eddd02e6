"""What travels with a request: ids, traces, time left, priority."""

from __future__ import annotations

import contextvars

import pytest

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.priority import Priority, priority_of
from doorbuster.kernel.request_context import RequestContext, outgoing_fields, working_on

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_request(number: int = 1, deadline: Deadline | None = None) -> RequestContext:
    return RequestContext("id", "GET", "/v1/products", 2**63 + 1, number, deadline)


def test_a_trace_goes_on_under_a_span_of_our_own():
    context = a_request()
    context.continue_trace(PARENT, "a=1")
    trace = context.trace
    assert (trace.trace_id, trace.parent_id, trace.sampled, trace.state) == (PARENT[3:35], PARENT[36:52], True, "a=1")
    assert trace.span_id not in (trace.parent_id, "0" * 16)
    assert context.trace is trace


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        PARENT.upper(),
        PARENT + "-",
        PARENT + "\n",
        PARENT[:-1],
        PARENT[:-1] + "g",
        "cc" + PARENT[2:] + "x",
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
    ],
)
def test_a_malformed_trace_begins_anew(bad: str):
    context = a_request()
    context.continue_trace(bad, "a=1")
    assert (context.trace.parent_id, context.trace.state) == ("", "")
    assert context.trace.trace_id not in PARENT


@pytest.mark.parametrize("told", ["cc" + PARENT[2:], "01" + PARENT[2:] + "-what.comes", PARENT[:-2] + "03"])
def test_a_later_version_and_other_flags_are_understood(told: str):
    context = a_request()
    context.continue_trace(told)
    assert (context.trace.trace_id, context.trace.parent_id, context.trace.sampled) == (told[3:35], told[36:52], True)
    assert context.traceparent == f"00-{told[3:35]}-{context.trace.span_id}-01", "we speak the first version"


def test_what_is_not_sampled_stays_so():
    context = a_request()
    context.continue_trace(PARENT[:-2] + "02")
    assert (context.trace.sampled, context.traceparent[-3:]) == (False, "-00")


@pytest.mark.parametrize("state", ["a=" + "b" * 511, "a=\n"])
def test_a_state_that_is_malformed_is_dropped_and_the_trace_goes_on(state: str):
    context = a_request()
    context.continue_trace(PARENT, state)
    assert (context.trace.trace_id, context.trace.state) == (PARENT[3:35], "")


def test_requests_of_one_process_have_traces_of_their_own():
    assert len({a_request(number).trace.trace_id for number in range(1, 1001)}) == 1000


def test_a_caller_may_only_shorten():
    assert a_request(deadline=Deadline(1.0)).within(60.0) == Deadline(1.0)
    assert a_request(deadline=Deadline.after(3600)).within(1.0).left_s() <= 1.0


def test_calls_to_others_carry_it_only_while_a_request_is_worked_on():
    assert outgoing_fields() == []

    def within() -> None:
        working_on(a_request(deadline=Deadline.after(60)))
        assert [name for name, _ in outgoing_fields()] == ["x-request-id", "traceparent", "x-request-timeout-ms"]

    contextvars.copy_context().run(within)
    assert outgoing_fields() == []


@pytest.mark.parametrize(
    ("method", "path", "priority"),
    [
        ("GET", "/healthz", Priority.PAY),
        ("POST", "/v1/payments/webhooks/stripe", Priority.PAY),
        ("POST", "/v1/orders/1/payments", Priority.PAY),
        ("POST", "/v1/orders/1/refunds", Priority.PAY),
        ("POST", "/v1/sales/1/claims", Priority.CLAIM),
        ("PUT", "/v1/carts/1/delivery", Priority.CLAIM),
        ("GET", "/v1/orders/1", Priority.BROWSE),
        ("GET", "/v1/products", Priority.BROWSE),
        ("GET", "/v1/admin/breakers", Priority.CLAIM),
        ("GET", "/v1/config", Priority.CLAIM),
        ("GET", "/v1/configurations", Priority.BROWSE),
        ("GET", "/v1/merchant/orders", Priority.ANALYTICS),
        ("GET", "/docs", Priority.ANALYTICS),
    ],
)
def test_paying_goes_before_claiming_before_looking_before_counting(method: str, path: str, priority: Priority):
    assert priority_of(method, path) is priority
