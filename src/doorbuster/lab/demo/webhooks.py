"""The merchant's own server: takes webhooks in, believes the signed ones, and knows each event by its id."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from doorbuster.lab.payment_simulator.signatures import mac
from doorbuster.lab.payment_simulator.webhook_receiver import Received, WebhookReceiver


class Webhook(Struct, frozen=True):
    """What the shop sends."""

    id: str
    type: str
    data: dict[str, Any]


class MerchantServer:
    """Answers 503 to the very first webhook, as servers do now and then; the shop has to come again."""

    def __init__(self) -> None:
        self.receiver = WebhookReceiver(self._answer)
        self.secret = ""
        """Told once, when the endpoint is registered."""
        self.merchant = ""
        """Their e-mail address."""
        self.refused = 0
        self.forged = 0
        self._taken: list[Webhook] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{urlsplit(self.receiver.url).port}/webhooks"

    @property
    def accepted(self) -> Sequence[tuple[str, str, str, str]]:
        """(whom, channel, kind, order) of each that was answered with 200, however often it came."""
        return [(self.merchant, "webhook", each.type, str(each.data.get("order_id", ""))) for each in self._taken]

    def _answer(self, received: Received) -> int:
        if not self.refused:
            self.refused += 1
            return 503
        if not self._signed(received):
            self.forged += 1
            return 401
        self._taken.append(msgspec.json.decode(received.body, type=Webhook))
        return 200

    def _signed(self, received: Received) -> bool:
        parts = dict(part.split("=", 1) for part in received.signature.split(",") if "=" in part)
        second = parts.get("t", "")
        if not second.isdecimal():
            return False
        return hmac.compare_digest(parts.get("v1", ""), mac(self.secret.encode(), int(second), received.body))


@asynccontextmanager
async def merchant_server() -> AsyncGenerator[MerchantServer]:
    """Listens on loopback while entered."""
    server = MerchantServer()
    async with server.receiver:
        yield server
