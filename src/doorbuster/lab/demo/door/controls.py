"""What the operator of the shop does during the act: settings, looking at breakers and the room, flushing copies."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from doorbuster.lab.demo.people import JSON, Person, until
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.stampede import NoAnswerError, Pool

INSIST_S, PAUSE_S = 30.0, 0.05
PROVIDER = "payments.simulator"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "gateway": {
        "routes": [
            {
                "name": name,
                "path": path,
                "plugins": [
                    {"type": "authentication"},
                    {"type": "rate-limit", "limiter": "browsing", "by": "user"},
                ],
            }
            for name, path in (("sales", "/v1/sales/**"), ("products", "/v1/products/**"))
        ]
        + [{"name": "everything", "path": "/**"}]
    },
    # An outage of seconds instead of minutes: so the breaker's times are shorter too.
    "resilience.payment_providers": {
        "breaker": {"window_ms": 3_000, "calls_min": 10, "slow_ms": 1_000, "slow_percent": 50, "open_ms": 1_000},
        "bulkhead": {"at_once": 32, "waiting_max": 16},
        "retry": {"tries_max": 4, "reserve": 20},
    },
    "waiting_room": {"per_s_start": 40, "per_s_min": 25, "per_s_max": 60, "unused_max": 60, "admitted_for_s": 60},
}
SHEDDING: Mapping[str, Mapping[str, Any]] = {
    # Well above the payments that may wait for a slow provider (48), which hold places too; below the default, for the
    # sake of the p99.
    "shedding": {"limit_min": 160}
}
LIMIT = "limits.browsing"


class Controls:
    """`admin`'s hands. What is refused because the shop is full is asked again at once: operators insist."""

    def __init__(self, http: Pool, admin: Person) -> None:
        self._http, self._admin = http, admin

    async def set(self, reason: str, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """All of it or nothing; returns when the process that answers goes by it. Raises ShopFailed."""
        version = (await self.ask("GET", "/v1/config"))["version"]
        listed = [{"key": key, "value": value} for key, value in changes.items()]
        await self.ask("PUT", "/v1/config", {"version": version, "reason": reason, "changes": listed})

        async def look() -> bool | None:
            return True if (await self.ask("GET", "/v1/config"))["version_in_force"] > version else None

        await until(f"version {version + 1} of the settings being in force", look)

    async def breaker(self) -> tuple[str, int]:
        """State of the payments' breaker in the front process, and how often it has opened. Raises ShopFailed."""
        found = await self.ask("GET", "/v1/admin/breakers")
        for seen in found["items"]:
            if seen["neighbour"] == PROVIDER:
                return seen["state"], seen["opened_times"]
        return "closed", 0

    async def flush(self) -> int:
        """How many copies were forgotten. Raises ShopFailed."""
        return (await self.ask("POST", "/v1/admin/cache/flush"))["local"]

    async def loads(self) -> int:
        """Reads of the database for copies, since the process began. Raises ShopFailed."""
        return sum(seen["loads"] for seen in (await self.ask("GET", "/v1/admin/cache"))["items"])

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Raises ShopFailed."""
        content = b"" if body is None else msgspec.json.encode(body)
        give_up_s = time.monotonic() + INSIST_S
        headers = {**JSON, **self._admin.authorization, "Idempotency-Key": secrets.token_hex(8)}
        while True:
            try:
                answer = await self._http.request(method, path, headers, content)
            except NoAnswerError as error:
                raise ShopFailed(f"{method} {path}: {error.failure.value}") from error
            if answer.status < 300:
                return answer.json(dict[str, Any])
            if answer.status not in (429, 503) or time.monotonic() > give_up_s:
                raise ShopFailed(f"{method} {path} was answered {answer.status}: {answer.body[:500]!r}")
            await asyncio.sleep(PAUSE_S)
