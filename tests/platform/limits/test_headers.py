"""What clients are told of limits."""

from __future__ import annotations

import msgspec

from doorbuster.platform.http.problems import problem_of
from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.errors import RateLimited
from doorbuster.platform.limits.headers import SHOWN_MAX, Applied, rate_limit_headers, retry_after
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.port import Decision, Policy
from doorbuster.platform.limits.settings import LimitSettings


def test_a_refusal_tells_what_when_and_how_much():
    route = Applied("route", Policy(50, 1.0), Decision(True, 50, 48, 0.04, 0.0))
    user = Applied("user", Policy(1, 60.0), Decision(False, 1, 0, 60.0, 59.2))
    status, headers, body = problem_of(RateLimited([route, user]), "r1")
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
