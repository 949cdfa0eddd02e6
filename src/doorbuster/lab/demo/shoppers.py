"""Shoppers over HTTP: they pay, or they do not, and look how their orders come on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from doorbuster.lab.demo.people import JSON
from doorbuster.lab.stampede import Ack, Buyer, NoAnswerError, Pool

PAYING_AT_ONCE = 32
PAY_TRIES = 8
PAY_PAUSE_S = 0.25


class Shopper:
    """What one winner does after the claim, with the patience of a browser: retries what was not answered."""

    def __init__(self, shop: Pool, provider: Pool) -> None:
        self._shop = shop
        self._provider = provider
        self._counter = asyncio.Semaphore(PAYING_AT_ONCE)

    async def pay(self, ack: Ack) -> str:
        """Pays for a claim. Returns "paid" when the provider has taken the money, else the problem's slug."""
        async with self._counter:
            order = await self.order(ack.buyer, ack.order_id)
            return await self.pay_order(ack.buyer.token, order)

    async def pay_order(self, token: str, order: dict[str, Any]) -> str:
        """Pays an order of whoever has the token; returns as `pay` does."""
        opened = await self._open_payment(token, order)
        if not opened.get("checkout_url"):
            return str(opened.get("slug", "no-answer"))
        return await self._confirm(str(opened["checkout_url"]))

    async def _open_payment(self, token: str, order: dict[str, Any]) -> dict[str, Any]:
        """The same key every time: however often it is asked, there is one payment."""
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"pay-{order['id']}", **JSON}
        body = msgspec.json.encode({"amount": order["total"]})
        answer: dict[str, Any] = {}
        for _ in range(PAY_TRIES):
            response = await self._shop.request("POST", f"/v1/orders/{order['id']}/payments", headers, body)
            answer = response.json(dict[str, Any])
            if response.status == 201 or answer.get("slug") not in ("payment-in-progress", "unavailable"):
                return answer
            await asyncio.sleep(PAY_PAUSE_S)
        return answer

    async def _confirm(self, checkout_url: str) -> str:
        """Presses "pay" at the provider; a lost answer is pressed again, which pays once all the same."""
        path = f"{urlsplit(checkout_url).path}/confirm"
        for _ in range(PAY_TRIES):
            try:
                response = await self._provider.request("POST", path, JSON, b'{"outcome":"success"}')
            except NoAnswerError:
                await asyncio.sleep(PAY_PAUSE_S)
                continue
            if response.status == 200:
                status = str(response.json(dict[str, Any])["status"])
                return "paid" if status == "captured" else status
            await asyncio.sleep(PAY_PAUSE_S)
        return "no-answer"

    async def order(self, buyer: Buyer, order_id: str) -> dict[str, Any]:
        return (await self._shop.request("GET", f"/v1/orders/{order_id}", _auth(buyer))).json(dict[str, Any])

    async def wait_settled(self, acks: Sequence[Ack], at_most_s: float) -> dict[str, int]:
        """Looks at the orders until none waits for payment any more, or time is up. Returns the count by status."""
        give_up_s = asyncio.get_running_loop().time() + at_most_s
        waiting, counts = {ack.order_id: ack for ack in acks}, dict[str, int]()
        while waiting:
            for ack in list(waiting.values()):
                status = (await self.order(ack.buyer, ack.order_id)).get("status", "missing")
                if status in ("pending_payment", "refunding") and asyncio.get_running_loop().time() < give_up_s:
                    continue
                counts[status] = counts.get(status, 0) + 1
                del waiting[ack.order_id]
            await asyncio.sleep(0.2)
        return counts


def _auth(buyer: Buyer) -> dict[str, str]:
    return {"Authorization": f"Bearer {buyer.token}"}
