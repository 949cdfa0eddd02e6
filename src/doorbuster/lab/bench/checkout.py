"""(g) A whole ordinary checkout over HTTP by a guest: cart, address and shipping, place, pay, settled.

A real `doorbuster serve` on PostgreSQL, a payment provider as a server of its own, and shoppers in a closed loop: each
fills a cart, says where it goes, orders at the price quoted and pays by a payment method's token, then the next one
comes. An order counts when its own page says that it is paid, not when somebody was answered.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from doorbuster.lab.bench.processes import cpu_s_of_family, postmaster_of
from doorbuster.lab.bench.stores import Skipped, Stores
from doorbuster.lab.demo.shop_process import ShopFailed, ShopProcess, shop_process
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Pool
from doorbuster.platform.settings.secrets import load_secrets

SHOPPERS = 64
WARM_UP_S = 2.0
SKUS = 20
STOCK = 10_000_000
RUSH_BUYERS, RUSH_UNITS = 300, 100
SETTLE_S = 30.0
ASKED_AT_ONCE = 500
_MIGRATE = (sys.executable, "-m", "doorbuster", "migrate")
STEPS = ("cart", "delivery", "place", "pay")
HOME = {
    "recipient": "Ann",
    "phone": "+86 10 1234",
    "country": "CN",
    "city": "北京",
    "street": "长安街 1",
    "postcode": "100000",
}


class CheckoutFigures(Struct, frozen=True):
    """`orders_per_s` counts orders that are paid; `cpu_us` is processor time per such order, by process."""

    orders_per_s: float
    orders: int
    failed: Mapping[str, int]
    step_p50_ms: Mapping[str, float]
    checkout_p50_ms: float
    checkout_p99_ms: float
    cpu_us: Mapping[str, float]
    cpu_us_in_all: float


class RushFigures(Struct, frozen=True):
    """Many buyers at once for a few units of an ordinary product."""

    buyers: int
    units: int
    settled: int
    refused: Mapping[str, int]
    charged_and_refunded: int
    unclear: int


class CheckoutResult(Struct, frozen=True):
    checkout: CheckoutFigures
    rush: RushFigures


class Refused(Exception):
    """A step was answered with a problem; its slug."""


class _Tally:
    def __init__(self) -> None:
        self.orders: list[tuple[str, str]] = []
        """Order id and the guest's token, of those that went through all steps."""
        self.steps: dict[str, list[float]] = {step: [] for step in STEPS}
        self.whole: list[float] = []
        self.failed: dict[str, int] = {}

    def fail(self, why: str) -> None:
        self.failed[why] = self.failed.get(why, 0) + 1


async def measure_checkout(stores: Stores, seconds: float, say: Callable[[str], None]) -> CheckoutResult | Skipped:
    """Measures on PostgreSQL, or says why it cannot."""
    if stores.postgres is None:
        return Skipped(stores.missing)
    async with stores.fresh("postgres") as settings, AsyncExitStack() as stack:
        environment = {"DOORBUSTER_DATABASE_URL": settings.database.url, "DOORBUSTER_PROCESS_LOG_LEVEL": "warning"}
        simulator = stack.enter_context(
            SimulatorProcess(
                settings.folder / "provider.sqlite",
                secrets=load_secrets(settings).webhook_secrets,
                arguments=("--webhooks", "off"),
            )
        )
        shop = await _opened(stack, settings.folder, simulator, environment)
        skus = await _goods(shop)
        async with Pool(shop.base_url) as pool:
            await _shop_for(pool, skus, WARM_UP_S)
            families = {
                "server": shop.process.pid,
                "provider": simulator.pid,
                "postgres": await postmaster_of(settings.database.url),
                "client": os.getpid(),
            }
            before = {name: cpu_s_of_family(pid) for name, pid in families.items()}
            begun_s = time.monotonic()
            tally = await _shop_for(pool, skus, seconds)
            await _settled(pool, tally.orders)
            took_s = time.monotonic() - begun_s
            after = {name: cpu_s_of_family(pid) for name, pid in families.items()}
            paid = (await _statuses(pool, tally.orders)).count("paid")
            figures = _figures(tally, paid, took_s, before, after)
            say(f"{figures.orders_per_s:.0f} checkouts/s, {figures.cpu_us_in_all:.0f} µs of processor time each")
            rush = await _rush(shop, pool)
            say(f"{rush.buyers} buyers for {rush.units} units: {rush.settled} settled, {dict(rush.refused)} refused")
    return CheckoutResult(figures, rush)


async def _opened(
    stack: AsyncExitStack, folder: Path, simulator: SimulatorProcess, environment: Mapping[str, str]
) -> ShopProcess:
    migrating = await asyncio.create_subprocess_exec(
        *_MIGRATE, "--data", str(folder), env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL
    )
    if await migrating.wait():
        raise ShopFailed("doorbuster migrate failed")
    return await stack.enter_async_context(
        shop_process(folder, simulator.base_url, folder / "serve.log", environment=environment)
    )


async def _goods(shop: ShopProcess) -> list[str]:
    """The ids of some SKUs, well in stock."""
    await shop.command("import", "--sample", "--stock", str(STOCK))
    async with Pool(shop.base_url) as pool:
        products = (await pool.request("GET", f"/v1/products?limit={SKUS}")).json(dict[str, Any])["items"]
    return [product["skus"][0]["id"] for product in products]


async def _shop_for(pool: Pool, skus: Sequence[str], seconds: float) -> _Tally:
    tally = _Tally()
    until_s = time.monotonic() + seconds

    async def shopper(number: int) -> None:
        while time.monotonic() < until_s:
            begun_s = time.monotonic()
            try:
                order = await check_out(pool, skus[number % len(skus)], tally.steps)
            except Refused as refused:
                tally.fail(str(refused))
                continue
            tally.orders.append(order)
            tally.whole.append(time.monotonic() - begun_s)

    await asyncio.gather(*(shopper(number) for number in range(SHOPPERS)))
    return tally


async def check_out(pool: Pool, sku_id: str, steps: Mapping[str, list[float]]) -> tuple[str, str]:
    """One guest from an empty cart to a payment that is made; the order's id and the guest's token. Raises Refused."""
    cart = await _step(pool, steps["cart"], "POST", "/v1/carts", {"lines": [{"sku_id": sku_id, "quantity": 1}]}, "")
    token: str = cart["guest"]["token"]
    path = f"/v1/carts/{cart['id']}"
    delivery = {"destination": HOME, "contact_email": "ann@example.org", "shipping_method": "standard"}
    cart = await _step(pool, steps["delivery"], "PUT", f"{path}/delivery", delivery, token)
    agreed = {"quote": cart["quote"]["fingerprint"]}
    placed = await _step(pool, steps["place"], "POST", f"{path}/checkout", agreed, token)
    pay = {"amount": placed["total"], "method": "pm_card_visa"}
    payment = await _step(pool, steps["pay"], "POST", f"/v1/orders/{placed['order_id']}/payments", pay, token)
    if payment["status"] != "captured":
        raise Refused(f"payment {payment['status']}")
    return placed["order_id"], token


async def _step(pool: Pool, times: list[float], method: str, path: str, body: object, token: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    begun_s = time.monotonic()
    answer = await pool.request(method, path, headers, msgspec.json.encode(body))
    times.append(time.monotonic() - begun_s)
    document = answer.json(dict[str, Any])
    if answer.status not in (200, 201):
        raise Refused(document.get("slug", str(answer.status)))
    return document


async def _settled(pool: Pool, orders: Sequence[tuple[str, str]]) -> None:
    """Waits until the last orders are paid: events arrive in order, so the others are then."""
    deadline_s = time.monotonic() + SETTLE_S
    for order in orders[-SHOPPERS:]:
        while await _status(pool, order) == "pending_payment" and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)


async def _statuses(pool: Pool, orders: Sequence[tuple[str, str]]) -> list[str]:
    """What the page of every order says."""
    found: list[str] = []
    for start in range(0, len(orders), ASKED_AT_ONCE):
        found += await asyncio.gather(*(_status(pool, order) for order in orders[start : start + ASKED_AT_ONCE]))
    return found


async def _status(pool: Pool, order: tuple[str, str]) -> str:
    answer = await pool.request("GET", f"/v1/orders/{order[0]}", {"Authorization": f"Bearer {order[1]}"})
    return answer.json(dict[str, Any])["status"]


def _figures(
    tally: _Tally,
    paid: int,
    took_s: float,
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
) -> CheckoutFigures:
    spent = {name: max(0.0, (after[name] or 0) - (before[name] or 0)) for name in before}
    cpu_us = {name: seconds / max(1, paid) * 1e6 for name, seconds in spent.items()}
    ordered = sorted(tally.whole) or [0.0]
    return CheckoutFigures(
        orders_per_s=paid / took_s,
        orders=paid,
        failed=tally.failed,
        step_p50_ms={step: statistics.median(times) * 1000 for step, times in tally.steps.items() if times},
        checkout_p50_ms=ordered[len(ordered) // 2] * 1000,
        checkout_p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        cpu_us=cpu_us,
        cpu_us_in_all=sum(cpu_us.values()),
    )


async def _rush(shop: ShopProcess, pool: Pool) -> RushFigures:
    """Everybody wants the same few units at once; nobody tries again."""
    products = (await pool.request("GET", f"/v1/products?limit={SKUS + 1}")).json(dict[str, Any])["items"]
    sku_id: str = products[-1]["skus"][-1]["id"]
    available = await _available(pool, sku_id)
    await shop.command("stock", "write-off", "--sku", sku_id, "--units", str(available - RUSH_UNITS))
    steps: dict[str, list[float]] = {step: [] for step in STEPS}
    outcomes = await asyncio.gather(
        *(check_out(pool, sku_id, steps) for _ in range(RUSH_BUYERS)), return_exceptions=True
    )
    orders = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    refused: dict[str, int] = {}
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            refused[str(outcome)] = refused.get(str(outcome), 0) + 1
    await _settled(pool, orders)
    statuses = await _statuses(pool, orders)
    return RushFigures(
        buyers=RUSH_BUYERS,
        units=RUSH_UNITS,
        settled=statuses.count("paid"),
        refused=refused,
        charged_and_refunded=sum(status in ("refunding", "refunded") for status in statuses),
        unclear=RUSH_BUYERS - len(orders) - sum(refused.values()),
    )


async def _available(pool: Pool, sku_id: str) -> int:
    return (await pool.request("GET", f"/v1/skus/{sku_id}/availability")).json(dict[str, Any])["available"]
