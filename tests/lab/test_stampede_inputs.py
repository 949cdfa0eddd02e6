"""What the instrument is fed: URLs, plans, buyers, schedules, replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from doorbuster.lab.stampede import BadBuyersError, BadPlanError, BadUrlError, Buyer, Plan, Pool, load_buyers
from doorbuster.lab.stampede.latency import Latency
from doorbuster.lab.stampede.schedule import clicks
from doorbuster.lab.stampede.target import parse_target
from doorbuster.lab.stampede.wire import classify
from lab.stampede_shop import crowd


def plan(**fields: Any) -> Plan:
    return Plan(**({"base_url": "http://127.0.0.1:8000", "sale_id": "1", "rate_per_s": 100.0} | fields))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://shop.example", "https is not supported"),
        ("shop.example:8000", "must start with http://"),
        ("", "must start with http://"),
        ("http://", "no host"),
        ("http://shop.example:70000", "out of range"),
        ("http://shop.example:x", "Port"),
        ("http://shop.example:0", "port 0"),
        ("http://me:secret@shop.example", "credentials"),
        ("http://shop.example/?a=1", "query"),
        ("http://shop.example/\r\nx: y", "visible ASCII"),
        ("http://café.example", "visible ASCII"),
        ("http://[::1", "IPv6"),
    ],
)
def test_a_bad_base_url_is_refused_with_its_reason(url: str, reason: str):
    for build in (lambda: plan(base_url=url), lambda: Pool(url)):
        with pytest.raises(BadUrlError, match=reason):
            build()


def test_a_good_base_url_keeps_its_prefix_and_port():
    target = parse_target("http://shop.example/api/")
    assert (target.host, target.port, target.prefix) == ("shop.example", 80, "/api")
    assert parse_target("http://[::1]:81").host_header == "[::1]:81"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sale_id": "../x"}, "sale_id"),
        ({"quantity": 0}, "quantity"),
        ({"connections": 0}, "connections"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"double_click_share": 1.5}, "double_click_share"),
        ({"rate_per_s": 0.0}, "rate_per_s"),
        ({"rate_per_s": None}, "rate_per_s"),
        ({"arrivals": 5, "duration_s": 1.0}, "arrivals"),
    ],
)
def test_a_bad_plan_is_refused_by_field(fields: dict[str, Any], field: str):
    with pytest.raises(BadPlanError) as raised:
        plan(**fields)
    assert raised.value.field == field


def test_two_of_arrivals_rate_and_duration_give_the_third():
    assert plan(duration_s=3.0).arrivals_of(7) == 300
    assert plan().arrivals_of(7) == 7
    assert plan(arrivals=50).arrivals_of(7) == 50
    assert plan(rate_per_s=None, duration_s=2.0).rate_of(30) == 15.0


def test_buyers_are_read_from_json_lines(tmp_path: Path):
    file = tmp_path / "buyers.jsonl"
    file.write_text('{"id":"1","token":"a.b.c"}\n\n{"id":"2","token":"d","name":"x"}\n')
    assert load_buyers(file) == [Buyer("a.b.c", "1"), Buyer("d", "2")]


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        '{"id":"2"}',
        '{"id":2,"token":"t"}',
        '{"id":"","token":"t"}',
        '{"id":"2","token":""}',
        '{"id":"2","token":"a\\r\\nx: y"}',
        '{"id":"1","token":"again"}',
        '{"id":"2","token":"%s"}' % ("t" * 20_000),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, bad: str):
    file = tmp_path / "buyers.jsonl"
    file.write_text('{"id":"1","token":"t"}\n' + bad + "\n")
    with pytest.raises(BadBuyersError) as raised:
        load_buyers(file)
    assert raised.value.line == 2
    assert "buyers.jsonl:2:" in str(raised.value)


def test_a_token_never_stands_in_the_message(tmp_path: Path):
    file = tmp_path / "buyers.jsonl"
    file.write_text('{"id":"1","token":"my secret"}\n')
    with pytest.raises(BadBuyersError) as raised:
        load_buyers(file)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_a_missing_or_empty_buyers_file_is_refused(tmp_path: Path, content: str | None):
    file = tmp_path / "buyers.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadBuyersError) as raised:
        load_buyers(file)
    assert raised.value.line == 0


def test_a_schedule_is_decided_by_its_seed_alone_and_ordered():
    busy = plan(spacing="poisson", arrivals=2000, double_click_share=0.2, cheat_share=0.05)
    first = list(clicks(busy, crowd(100), "r"))
    assert first == list(clicks(busy, crowd(100), "r"))
    assert first != list(clicks(plan(spacing="poisson", arrivals=2000, seed=2), crowd(100), "r"))
    assert [c.due_s for c in first] == sorted(c.due_s for c in first)


def test_shares_and_rate_of_a_schedule_are_what_the_plan_says():
    all_clicks = list(clicks(plan(spacing="poisson", arrivals=20_000), crowd(100), "r"))
    of_kind = {kind: [c for c in all_clicks if c.kind == kind] for kind in ("first-of-two", "double", "cheat")}
    assert len(of_kind["double"]) == len(of_kind["first-of-two"]) == pytest.approx(4000, rel=0.1)
    assert len(of_kind["cheat"]) == pytest.approx(1000, rel=0.15)
    assert all_clicks[-1].due_s == pytest.approx(200, rel=0.05)
    assert len({c.key for c in all_clicks}) == 20_000 + len(of_kind["cheat"])


def test_uniform_arrivals_are_evenly_spaced():
    even = [c.due_s for c in clicks(plan(arrivals=4, double_click_share=0, cheat_share=0), crowd(4), "r")]
    assert even == pytest.approx([0.0, 0.01, 0.02, 0.03])


CLAIM = {"order_id": "5", "quantity": 2}


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (201, CLAIM, "claimed", ""),
        (201, {"order_id": "", "quantity": 1}, "unknown", "unreadable-201"),
        (201, {"order_id": "5", "quantity": 0}, "unknown", "unreadable-201"),
        (201, "?", "unknown", "unreadable-201"),
        (200, CLAIM, "unknown", "status-200"),
        (302, {}, "error", "status-302"),
        (400, {"slug": "validation"}, "error", "validation"),
        (401, {"type": "/problems/unauthenticated"}, "error", "unauthenticated"),
        (404, {"slug": "sale-not-found"}, "error", "sale-not-found"),
        (409, {"slug": "sold-out"}, "refused", "sold-out"),
        (409, {"slug": "limit-reached"}, "refused", "limit-reached"),
        (409, {"slug": "sale-not-open"}, "refused", "sale-not-open"),
        (422, {"slug": "idempotency-key-reused"}, "refused", "idempotency-key-reused"),
        (429, {"slug": "rate-limited"}, "refused", "rate-limited"),
        (503, {"slug": "overloaded"}, "refused", "overloaded"),
        (503, {"slug": "outcome-unknown"}, "unknown", "outcome-unknown"),
        (503, "<html>", "unknown", "status-503"),
        (500, {}, "unknown", "status-500"),
        (502, {"slug": "overloaded"}, "unknown", "overloaded"),
    ],
)
def test_a_reply_means_what_the_wire_format_says(status: int, body: object, kind: str, reason: str):
    for separators in ((",", ":"), (", ", ": ")):
        outcome = classify(status, json.dumps(body, separators=separators).encode())
        assert (outcome.kind, outcome.reason) == (kind, reason)


def test_latency_reports_ms_and_keeps_what_is_out_of_range():
    latency = Latency()
    assert latency.percentiles_ms(50.0, 99.0) == (0.0, 0.0)
    for ms in range(1, 101):
        latency.record(ms / 1000)
    latency.record(-1.0)
    latency.record(1e9)
    p50_ms, p99_ms = latency.percentiles_ms(50.0, 99.0)
    assert (p50_ms, p99_ms) == (pytest.approx(50, rel=0.02), pytest.approx(100, rel=0.02))
    assert latency.count == 102
    assert latency.max_ms >= 3_600_000
