"""People of the demo: each knows the shop by its public API only, with a token of their own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.stampede import NoAnswerError, Pool

TRIES = 10
PAUSE_S = 0.1
"""Between two looks at something that is awaited, and between two tries."""
PATIENCE_S = 20.0
JSON = {"Content-Type": "application/json"}

T = TypeVar("T")


class Person:
    """Somebody with a browser: what is busy or not answered is asked again, under the same key.

    `token` is empty before they have logged in; a guest gets one with the first cart.
    """

    def __init__(self, http: Pool, name: str, email: str, token: str = "", account_id: str = "") -> None:
        self._http = http
        self.name = name
        self.email = email
        self.token = token
        self.account_id = account_id

    @classmethod
    async def log_in(cls, http: Pool, name: str, email: str, password: str) -> Person:
        """Raises ShopFailed."""
        person = cls(http, name, email)
        session = await person.ask("POST", "/v1/sessions", {"email": email, "password": password})
        person.token = session["access_token"]
        person.account_id = (await person.ask("GET", "/v1/me"))["id"]
        return person

    @classmethod
    async def register(cls, http: Pool, name: str, email: str) -> Person:
        """A new customer. Raises ShopFailed."""
        password = secrets.token_urlsafe(12)
        body = {"email": email, "password": password, "name": name}
        await cls(http, name, email).ask("POST", "/v1/accounts", body)
        return await cls.log_in(http, name, email, password)

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """A call that must succeed. Raises ShopFailed."""
        status, answer = await self.try_to(method, path, body)
        if status >= 300:
            raise ShopFailed(f"{self.name}: {method} {path} was answered {status}: {answer}")
        return answer

    async def try_to(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """(status, answer) of a call that may be refused. Raises ShopFailed if nobody answers."""
        headers = {**JSON, **self.authorization}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        content = b"" if body is None else msgspec.json.encode(body)
        for _ in range(TRIES):
            try:
                answer = await self._http.request(method, path, headers, content)
            except NoAnswerError:
                continue
            if answer.status not in (429, 503):
                return answer.status, answer.json(dict[str, Any]) if answer.body else {}
            await asyncio.sleep(max(PAUSE_S, min(answer.retry_after_s, 1.0)))
        raise ShopFailed(f"{self.name}: {method} {path} was not answered in {TRIES} tries")


async def until(what: str, look: Callable[[], Awaitable[T | None]], within_s: float = PATIENCE_S) -> T:
    """Looks again and again until there is something to see. Raises ShopFailed when time is up."""
    give_up_s = time.monotonic() + within_s
    while (seen := await look()) is None:
        if time.monotonic() > give_up_s:
            raise ShopFailed(f"{what} did not happen within {within_s:.0f} s")
        await asyncio.sleep(PAUSE_S)
    return seen


async def order_is(person: Person, order_id: str, status: str) -> dict[str, Any]:
    """The order, as soon as it stands there. Raises ShopFailed."""

    async def look() -> dict[str, Any] | None:
        order = await person.ask("GET", f"/v1/orders/{order_id}")
        return order if order["status"] == status else None

    return await until(f"order {order_id} being {status}", look)


def money(amount: dict[str, Any]) -> str:
    """{"amount": 1990, "currency": "CNY"} → "CNY 19.90"."""
    return f"{amount['currency']} {amount['amount'] / 100:,.2f}"
