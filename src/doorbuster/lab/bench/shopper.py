"""A guest who buys one unit of an ordinary product over HTTP, step by step."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from doorbuster.lab.stampede import Pool

Step = Literal["cart", "delivery", "place", "pay"]
STEPS: tuple[Step, ...] = ("cart", "delivery", "place", "pay")
HOME = {
    "recipient": "Ann",
    "phone": "+86 10 1234",
    "country": "CN",
    "city": "北京",
    "street": "长安街 1",
    "postcode": "100000",
}
_DELIVERY = msgspec.json.encode(
    {"destination": HOME, "contact_email": "ann@example.org", "shipping_method": "standard"}
)
Times = Mapping[Step, list[float]]


def no_times() -> dict[Step, list[float]]:
    return {step: [] for step in STEPS}


class Refused(Exception):
    """A step was answered with a problem; its slug."""


class Shopper:
    """`order_id` and `token` are what the order is asked for with, once it is placed."""

    def __init__(self, pool: Pool, sku_id: str, times: Times) -> None:
        self._pool, self._sku_id, self._times = pool, sku_id, times
        self.token = ""
        self.order_id = ""
        self._cart_path = ""
        self._quote = ""
        self._total: object = None

    async def check_out(self) -> None:
        """From an empty cart to a payment that is made. Raises Refused."""
        for step in STEPS:
            await self.take(step)

    async def take(self, step: Step) -> None:
        """The next step. Raises Refused, NoAnswerError."""
        await {"cart": self._cart, "delivery": self._delivery, "place": self._place, "pay": self._pay}[step]()

    async def _cart(self) -> None:
        """Makes them a guest, too."""
        body = msgspec.json.encode({"lines": [{"sku_id": self._sku_id, "quantity": 1}]})
        cart = await self._ask("cart", "POST", "/v1/carts", body)
        self.token = cart["guest"]["token"]
        self._cart_path = f"/v1/carts/{cart['id']}"

    async def _delivery(self) -> None:
        cart = await self._ask("delivery", "PUT", f"{self._cart_path}/delivery", _DELIVERY)
        self._quote = cart["quote"]["fingerprint"]

    async def _place(self) -> None:
        """At the price quoted."""
        agreed = msgspec.json.encode({"quote": self._quote})
        placed = await self._ask("place", "POST", f"{self._cart_path}/checkout", agreed)
        self.order_id, self._total = placed["order_id"], placed["total"]

    async def _pay(self) -> None:
        """By the token of a payment method, charged at once."""
        body = msgspec.json.encode({"amount": self._total, "method": "pm_card_visa"})
        payment = await self._ask("pay", "POST", f"/v1/orders/{self.order_id}/payments", body)
        if payment["status"] != "captured":
            raise Refused(f"payment {payment['status']}")

    async def status(self) -> str:
        """What the page of the order says."""
        answer = await self._pool.request("GET", f"/v1/orders/{self.order_id}", self._headers())
        return answer.json(dict[str, Any])["status"]

    async def _ask(self, step: Step, method: str, path: str, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)} | self._headers()
        begun_s = time.monotonic()
        answer = await self._pool.request(method, path, headers, body)
        self._times[step].append(time.monotonic() - begun_s)
        document = answer.json(dict[str, Any])
        if answer.status not in (200, 201):
            raise Refused(document.get("slug", str(answer.status)))
        return document

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}
