"""Which limits a request has to pass: by user, address, route, and by hot values of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from doorbuster.platform.limits.addresses import client_key
from doorbuster.platform.limits.errors import RateLimited
from doorbuster.platform.limits.headers import Applied
from doorbuster.platform.limits.port import Limiter


class Asking(Struct, frozen=True):
    """What limits may count by. `user` is empty for somebody who is not logged in."""

    route: str
    address: str
    user: str = ""
    parameters: Mapping[str, str] = {}


KeyOf = Callable[[Asking], str]
"""The key that a rule counts by; empty: the rule does not concern this request."""


def by_user(asking: Asking) -> str:
    return asking.user


def by_address(asking: Asking) -> str:
    return client_key(asking.address)


def by_route(asking: Asking) -> str:
    return asking.route


def by_user_or_address(asking: Asking) -> str:
    """Whoever is not logged in counts by address. The prefixes keep a user named like an address apart."""
    return f"user:{asking.user}" if asking.user else f"address:{client_key(asking.address)}"


def by_parameter(name: str) -> KeyOf:
    return lambda asking: asking.parameters.get(name, "")


def on_route(key_of: KeyOf) -> KeyOf:
    """The same on each route by itself."""

    def key(asking: Asking) -> str:
        found = key_of(asking)
        return f"{asking.route} {found}" if found else ""

    return key


class Rule(Struct, frozen=True):
    """`name` is what clients see in the headers."""

    name: str
    key_of: KeyOf
    limiter: Limiter
    routes: frozenset[str] = frozenset()
    """Empty: all."""

    def key(self, asking: Asking) -> str:
        return self.key_of(asking) if not self.routes or asking.route in self.routes else ""


class Rules:
    """Asked in order. Put those of one caller before those of all, so that no caller alone uses up a route.

    The first refusal ends it. What the rules before it took stays taken: a try is a try.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    async def admit(self, asking: Asking, cost: int = 1) -> Sequence[Applied]:
        """Those that concerned the request. Raises RateLimited, and Unavailable if a limiter has no policy for that."""
        applied: list[Applied] = []
        for rule in self._rules:
            if key := rule.key(asking):
                decision = await rule.limiter.take(key, cost)
                applied.append(Applied(rule.name, rule.limiter.policy, decision))
                if not decision.allowed:
                    raise RateLimited(applied)
        return applied
