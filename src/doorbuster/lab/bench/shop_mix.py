"""What customers, sellers and staff of an ordinary shop ask for, and how often.

Whoever pays must have ordered, and so on: a request that needs what an earlier one was refused becomes the earlier
one, tried again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from doorbuster.lab.bench.shopper import HOME
from doorbuster.lab.stampede.target import Target
from doorbuster.lab.stampede.wire import ClaimWriter

SHARES = {
    "pay": 0.04,
    "order": 0.04,
    "quote": 0.06,
    "cart": 0.06,
    "claim": 0.05,
    "products": 0.25,
    "product": 0.15,
    "availability": 0.10,
    "sale": 0.10,
    "stock": 0.05,
    "movements": 0.10,
}
"""Of all requests. By priority: payments 4 %, on the way to a purchase 21 %, looking at things 60 %, staff 15 %."""
KEPT_MAX = 20_000
"""Carts and orders of which the generator knows that they can go on. The oldest are forgotten first."""
_DELIVERY = msgspec.json.encode(
    {"destination": HOME, "contact_email": "ann@example.org", "shipping_method": "standard"}
)


class Goods(Struct, frozen=True):
    """What there is to ask for, and the tokens to ask with."""

    product_ids: Sequence[str]
    sku_ids: Sequence[str]
    sale_id: str
    customers: Sequence[str]
    staff: str


class Wish(Struct, frozen=True):
    """A request, and what its answer leads to; `answered` gets 0 where there was none."""

    kind: str
    payload: bytes
    answered: Callable[[int, bytes], None]


class _Cart(Struct):
    token: str
    path: str
    quote: str = ""


class _Order(Struct):
    token: str
    order_id: str
    total: Any


class ShopMix:
    def __init__(self, target: Target, goods: Goods, dice: random.Random) -> None:
        self._goods, self._dice = goods, dice
        self._host = target.host_header
        self._claims = ClaimWriter(target, goods.sale_id, 1)
        self._number = 0
        self._carts: deque[_Cart] = deque(maxlen=KEPT_MAX)
        self._ready: deque[_Cart] = deque(maxlen=KEPT_MAX)
        self._unpaid: deque[_Order] = deque(maxlen=KEPT_MAX)
        self._kinds, self._shares = list(SHARES), list(SHARES.values())
        self._wishes: dict[str, Callable[[], Wish]] = {
            "pay": self._pay,
            "order": self._order,
            "quote": self._quote,
            "cart": self._cart,
            "claim": self._claim,
            "products": lambda: self._look("products", "/v1/products?limit=20"),
            "product": lambda: self._look("product", f"/v1/products/{self._one_of(goods.product_ids)}"),
            "availability": lambda: self._look("availability", f"/v1/skus/{self._one_of(goods.sku_ids)}/availability"),
            "sale": lambda: self._look("sale", f"/v1/sales/{goods.sale_id}"),
            "stock": lambda: self._look("stock", f"/v1/stock?sku_id={self._one_of(goods.sku_ids)}", goods.staff),
            "movements": lambda: self._look(
                "movements", f"/v1/stock/movements?limit=20&sku_id={self._one_of(goods.sku_ids)}", goods.staff
            ),
        }

    def draw(self) -> Wish:
        """The next one, by SHARES."""
        (kind,) = self._dice.choices(self._kinds, self._shares)
        return self._wishes[kind]()

    def only(self, kind: str) -> Callable[[], Wish]:
        """Wishes of one kind, as long as there is what they need."""
        return self._wishes[kind]

    def _one_of(self, ids: Sequence[str]) -> str:
        return ids[self._dice.randrange(len(ids))]

    def _look(self, kind: str, path: str, token: str = "") -> Wish:
        return Wish(kind, self._written("GET", path, token), _nothing)

    def _claim(self) -> Wish:
        self._number += 1
        token = self._goods.customers[self._number % len(self._goods.customers)]
        return Wish("claim", self._claims.request(token, f"claim-{self._number}"), _nothing)

    def _cart(self) -> Wish:
        body = b'{"lines":[{"sku_id":"%b","quantity":1}]}' % self._one_of(self._goods.sku_ids).encode()

        def answered(status: int, answer: bytes) -> None:
            if status == 201:
                made = msgspec.json.decode(answer)
                self._carts.append(_Cart(made["guest"]["token"], f"/v1/carts/{made['id']}"))

        return Wish("cart", self._written("POST", "/v1/carts", "", body), answered)

    def _quote(self) -> Wish:
        if not self._carts:
            return self._cart()
        cart = self._carts.popleft()

        def answered(status: int, answer: bytes) -> None:
            if status == 200:
                cart.quote = msgspec.json.decode(answer)["quote"]["fingerprint"]
                self._ready.append(cart)
            elif status == 503:
                self._carts.append(cart)

        return Wish("quote", self._written("PUT", f"{cart.path}/delivery", cart.token, _DELIVERY), answered)

    def _order(self) -> Wish:
        if not self._ready:
            return self._quote()
        cart = self._ready.popleft()
        body = msgspec.json.encode({"quote": cart.quote})

        def answered(status: int, answer: bytes) -> None:
            if status == 201:
                placed = msgspec.json.decode(answer)
                self._unpaid.append(_Order(cart.token, placed["order_id"], placed["total"]))
            elif status == 503:
                self._ready.append(cart)

        return Wish("order", self._written("POST", f"{cart.path}/checkout", cart.token, body), answered)

    def _pay(self) -> Wish:
        if not self._unpaid:
            return self._order()
        order = self._unpaid.popleft()
        body = msgspec.json.encode({"amount": order.total, "method": "pm_card_visa"})

        def answered(status: int, _answer: bytes) -> None:
            if status == 503:
                self._unpaid.append(order)

        return Wish("pay", self._written("POST", f"/v1/orders/{order.order_id}/payments", order.token, body), answered)

    def _written(self, method: str, path: str, token: str, body: bytes = b"") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}", "accept: application/json"]
        if token:
            lines.append(f"authorization: Bearer {token}")
        if body:
            self._number += 1
            lines += [
                "content-type: application/json",
                f"content-length: {len(body)}",
                f"idempotency-key: mix-{self._number}",
            ]
        return "\r\n".join([*lines, "", ""]).encode() + body


def _nothing(_status: int, _answer: bytes) -> None:
    """Nothing follows from looking at things."""
