"""A small real HTTP shop in a thread of its own: the claim wire format, with misbehaviour on request.

It is honest unless told otherwise, so that every test plants exactly one fault.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httptools

from doorbuster.lab.stampede import Buyer, Plan

SALE = "77"


@dataclass
class Faults:
    """What goes wrong; `claim_number` counts claim requests from 1."""

    stall_at: int = 0  # before answering this claim request the whole server stands still ...
    stall_s: float = 1.0
    crash_at: int = 0  # at this claim request, unanswered, every connection ends and nobody listens ...
    crash_s: float = 0.3
    hang_until: threading.Event | None = None  # claims wait, the server lives
    oversell: bool = False
    forget: Callable[[int], bool] = lambda claim_number: False  # 201, but no such order
    drop_reply: Callable[[int], bool] = lambda claim_number: False  # acts, then hangs up
    mute: Callable[[int], bool] = lambda claim_number: False  # acts, and never answers
    fork_keys: bool = False  # a new order for a key that has one
    short: bool = False  # the order holds one unit less than promised
    always: tuple[int, str] | None = None  # every claim gets this status and slug, after acting
    close_every: int = 0  # "Connection: close" on every n-th reply
    ignore_limit: bool = False


@dataclass
class Order:
    id: str
    customer: str
    quantity: int
    status: str = "pending_payment"
    released: bool = False


@dataclass
class Shop:
    units: int = 10
    limit: int = 1
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.url = ""
        self.left = self.units
        self.closed = False
        self.orders: dict[str, Order] = {}
        self.by_key: dict[tuple[str, str], str] = {}
        self.claims_seen: list[tuple[str, int]] = []  # (key, connection number)
        self.connections_opened = self.connections_now = self.connections_most = 0
        self.wires: set[_Wire] = set()
        self.replies = 0
        self.forgotten: list[str] = []
        self._next_order = 1000

    # the claim

    def claim(self, customer: str, key: str, quantity: int, number: int) -> tuple[int, dict[str, Any]]:
        known = self.by_key.get((customer, key))
        if known is not None and not self.faults.fork_keys:
            return 201, self._reply(self.orders[known])
        held = sum(o.quantity for o in self.orders.values() if o.customer == customer and not o.released)
        lax = self.faults.fork_keys or self.faults.ignore_limit
        if held + quantity > self.limit and not lax:
            return problem(409, "limit-reached")
        if self.left < quantity and not self.faults.oversell:
            return problem(409, "sold-out")
        self.left -= quantity
        self._next_order += 1
        order = Order(str(self._next_order), customer, quantity)
        self.orders[order.id] = order
        self.by_key[customer, key] = order.id
        if self.faults.forget(number):
            self.forgotten.append(order.id)
        return 201, self._reply(order)

    def release(self, order_id: str, status: str = "cancelled") -> None:
        order = self.orders[order_id]
        order.status, order.released = status, True
        self.left += order.quantity

    def _reply(self, order: Order) -> dict[str, Any]:
        return {"order_id": order.id, "sale_id": SALE, "quantity": order.quantity, "state": "placing"}

    # the routes

    def answer(self, method: str, path: str, customer: str) -> tuple[int, Any]:
        if path == f"/v1/sales/{SALE}":
            state = "closed" if self.closed else "open" if self.left > 0 else "sold_out"
            left = max(0, self.left)
            sale = {"id": SALE, "state": state, "units": self.units, "units_left": left}
            return 200, {**sale, "limit_per_customer": self.limit, "title": "Kettle"}
        kind, _, order_id = path.removeprefix("/v1/").partition("/")
        order = self.orders.get(order_id)
        if order is None or order.customer != customer or order_id in self.forgotten:
            return problem(404, f"{kind[:-1]}-not-found")
        if kind == "claims":
            return 200, {**self._reply(order), "released": order.released}
        quantity = order.quantity - self.faults.short
        return 200, {"id": order.id, "status": order.status, "lines": [{"sku_id": "1", "quantity": quantity}]}

    # the thread

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._crashed = asyncio.Event()
        server = await self._loop.create_server(lambda: _Wire(self), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        ready.set()
        if self.faults.crash_at:
            await self._crashed.wait()
            server.close()
            await asyncio.sleep(self.faults.crash_s)
            server = await self._loop.create_server(lambda: _Wire(self), "127.0.0.1", port)
        await self._stop.wait()
        server.close()

    def crash(self) -> None:
        for wire in tuple(self.wires):
            wire.transport.abort()
        self._crashed.set()


class _Wire(asyncio.Protocol):
    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.shop.connections_opened += 1
        self.number = self.shop.connections_opened
        self.shop.connections_now += 1
        self.shop.wires.add(self)
        self.shop.connections_most = max(self.shop.connections_most, self.shop.connections_now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.shop.connections_now -= 1
        self.shop.wires.discard(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.path, self.headers, self.body = "", dict[str, str](), b""

    def on_url(self, url: bytes) -> None:
        self.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        customer = self.headers.get("authorization", "").removeprefix("Bearer token-of-")
        if method == "POST" and self.path == f"/v1/sales/{SALE}/claims":
            self._claim(customer)
        elif self.path == "/echo":
            self.reply(200, {"method": method, "body": self.body.decode(), "headers": self.headers})
        elif self.path == "/hang-up":
            self.transport.abort()
        elif self.path != "/silence":
            self.reply(*self.shop.answer(method, self.path, customer))

    def _claim(self, customer: str) -> None:
        shop, faults = self.shop, self.shop.faults
        key = self.headers["idempotency-key"]
        shop.claims_seen.append((key, self.number))
        number = len(shop.claims_seen)
        if number == faults.stall_at:
            time.sleep(faults.stall_s)
        status, answer = shop.claim(customer, key, json.loads(self.body)["quantity"], number)
        if faults.always:
            status, answer = problem(*faults.always)
        if number == faults.crash_at:
            shop.crash()
        elif faults.drop_reply(number):
            self.transport.close()
        elif faults.hang_until is not None:
            self._reply_after(faults.hang_until, status, answer)
        elif not faults.mute(number):
            self.reply(status, answer)

    def _reply_after(self, gate: threading.Event, status: int, answer: Any) -> None:
        if gate.is_set():
            self.reply(status, answer)
        else:
            asyncio.get_running_loop().call_later(0.01, self._reply_after, gate, status, answer)

    def reply(self, status: int, answer: Any) -> None:
        self.shop.replies += 1
        every = self.shop.faults.close_every
        closing = bool(every) and self.shop.replies % every == 0
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        if closing:
            head += "Connection: close\r\n"
        self.transport.write(head.encode() + b"\r\n" + body)
        if closing:
            self.transport.close()


def problem(status: int, slug: str) -> tuple[int, dict[str, Any]]:
    return status, {"type": f"/problems/{slug}", "slug": slug, "status": status, "title": slug}


def crowd(count: int) -> list[Buyer]:
    return [Buyer(token=f"token-of-{number}", customer_id=str(number)) for number in range(count)]


def plan_for(shop: Shop, **changes: Any) -> Plan:
    """Everybody once within about a tenth of a second, no double clicks and no cheats unless asked for."""
    fields: dict[str, Any] = {
        "rate_per_s": 1000.0,
        "connections": 16,
        "double_click_share": 0.0,
        "cheat_share": 0.0,
    }
    if "duration_s" in changes:
        del fields["rate_per_s"]
    return Plan(base_url=shop.url, sale_id=SALE, **(fields | changes))
