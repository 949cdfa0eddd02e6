"""The headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), as structured fields.

    RateLimit-Policy: "user";q=100;w=60, "route";q=5000;w=1
    RateLimit: "user";r=42;t=18, "route";r=4711;t=1

`Retry-After` goes with a refusal only; the problem document's answer has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

from doorbuster.platform.limits.port import Decision, Policy

SHOWN_MAX = 8
"""Policies that one answer names; those after it are left out."""


class Applied(Struct, frozen=True):
    """A limiter that was asked, and its answer. `name` is printable ASCII."""

    name: str
    policy: Policy
    decision: Decision


def rate_limit_headers(applied: Sequence[Applied]) -> list[tuple[bytes, bytes]]:
    """None at all for no limits. Raises UnicodeEncodeError for a name that is not ASCII."""
    shown = applied[:SHOWN_MAX]
    if not shown:
        return []
    policies = b", ".join([_policy(each.name, each.policy) for each in shown])
    return [(b"ratelimit-policy", policies), (b"ratelimit", b", ".join([_state(each) for each in shown]))]


def retry_after(decision: Decision) -> list[tuple[bytes, bytes]]:
    """At least a second: 0 would ask for the same again at once."""
    if decision.allowed:
        return []
    return [(b"retry-after", str(_seconds(decision.retry_after_s)).encode())]


def _seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))


@lru_cache(maxsize=256)  # they change when somebody changes a limit
def _policy(name: str, policy: Policy) -> bytes:
    return f"{_quoted(name)};q={policy.quota};w={_seconds(policy.window_s)}".encode("ascii")


def _state(applied: Applied) -> bytes:
    decision = applied.decision
    return f"{_quoted(applied.name)};r={decision.remaining};t={math.ceil(decision.reset_s)}".encode("ascii")


@lru_cache(maxsize=256)
def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
