"""Rules by user, address, route and parameter, and what clients are told."""

from __future__ import annotations

import msgspec
import pytest

from doorbuster.platform.http.problems import problem_of
from doorbuster.platform.limits.algorithms.fixed_window import FixedWindow
from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.errors import RateLimited
from doorbuster.platform.limits.headers import SHOWN_MAX, Applied, rate_limit_headers, retry_after
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.port import Decision, Policy
from doorbuster.platform.limits.rules import (
    Asking,
    Rule,
    Rules,
    by_address,
    by_parameter,
    by_route,
    by_user,
    by_user_or_address,
    on_route,
)
from doorbuster.platform.limits.settings import LimitSettings

from .bench import NOW_US

ALICE = Asking("claim", "2001:db8::1", "7", {"sku": "red"})
BOB = Asking("claim", "2001:db8::2", "8", {"sku": "blue"})
GUEST = Asking("claim", "203.0.113.7")


def limiter(limit: int, period_s: float = 60.0) -> LocalLimiter:
    settings = LimitSettings(limit=limit, period_s=period_s)
    return LocalLimiter(FixedWindow(), lambda: settings, now_us=lambda: NOW_US)


async def admitted(rules: Rules, asking: Asking, tries: int = 10) -> int:
    count = 0
    for _ in range(tries):
        try:
            await rules.admit(asking)
        except RateLimited:
            continue
        count += 1
    return count


@pytest.mark.parametrize(
    ("key_of", "alice", "bob", "guest"),
    [
        (by_user, 3, 3, 10),
        (by_address, 3, 0, 3),
        (by_route, 3, 0, 0),
        (by_user_or_address, 3, 3, 3),
        (by_parameter("sku"), 3, 3, 10),
        (on_route(by_user), 3, 3, 10),
    ],
)
async def test_what_a_rule_counts_by(key_of, alice: int, bob: int, guest: int):
    rules = Rules([Rule("r", key_of, limiter(3))])
    assert [await admitted(rules, each) for each in (ALICE, BOB, GUEST)] == [alice, bob, guest]


async def test_a_rule_for_some_routes_leaves_others_alone():
    rules = Rules([Rule("r", by_user, limiter(3), frozenset({"claim"}))])
    assert await admitted(rules, ALICE) == 3
    assert await admitted(rules, msgspec.structs.replace(ALICE, route="browse")) == 10


async def test_a_rule_on_each_route_counts_them_apart():
    rules = Rules([Rule("r", on_route(by_user), limiter(3))])
    assert await admitted(rules, ALICE) == 3
    assert await admitted(rules, msgspec.structs.replace(ALICE, route="browse")) == 3


async def test_one_caller_is_stopped_before_using_up_the_route():
    rules = Rules([Rule("user", by_user, limiter(3)), Rule("route", by_route, limiter(5))])
    assert await admitted(rules, ALICE) == 3
    assert await admitted(rules, BOB) == 2


async def test_a_refusal_tells_what_when_and_how_much():
    rules = Rules([Rule("route", by_route, limiter(50, 1.0)), Rule("user", by_user, limiter(1))])
    assert [each.name for each in await rules.admit(ALICE)] == ["route", "user"]
    with pytest.raises(RateLimited) as refused:
        await rules.admit(ALICE)
    status, headers, body = problem_of(refused.value, "r1")
    told = dict(headers)
    assert (status, told[b"retry-after"]) == (429, b"60")
    assert told[b"ratelimit-policy"] == b'"route";q=50;w=1, "user";q=1;w=60'
    assert told[b"ratelimit"] == b'"route";r=48;t=1, "user";r=0;t=60'
    document = msgspec.json.decode(body)
    assert (document["slug"], document["policy"]) == ("rate-limited", "user")


def test_headers_are_structured_fields():
    decision = Decision(False, 3, 0, 0.2, 0.000_001)
    odd = Applied('say "hi" \\ bye', Policy(3, 0.3), decision)
    assert rate_limit_headers([odd]) == [
        (b"ratelimit-policy", b'"say \\"hi\\" \\\\ bye";q=3;w=1'),
        (b"ratelimit", b'"say \\"hi\\" \\\\ bye";r=0;t=1'),
    ]
    assert retry_after(decision) == [(b"retry-after", b"1")]
    assert retry_after(Decision(True, 3, 2, 0.2, 0.0)) == []
    assert rate_limit_headers([]) == []
    assert rate_limit_headers([odd] * 50)[0][1].count(b"say") == SHOWN_MAX


async def test_the_policy_follows_the_settings():
    settings = LimitSettings(limit=10, period_s=60.0, burst=5)
    changing = LocalLimiter(TokenBucket(), lambda: settings)
    assert changing.policy == Policy(5, 30.0)
    settings = LimitSettings(limit=100, period_s=60.0)
    assert changing.policy == Policy(100, 60.0)
