"""The demo's story, from the opening of the shop to the verdict."""

from __future__ import annotations

import asyncio
import random
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console

from doorbuster.kernel.clock import parse_rfc3339, rfc3339
from doorbuster.lab.demo.shop_process import ShopFailed, ShopProcess, free_port, shop_process
from doorbuster.lab.demo.shoppers import JSON, Shopper
from doorbuster.lab.demo.verdict import Verdict, captured_at_provider, print_verdict
from doorbuster.lab.demo.view import LiveView
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Ack, Buyer, Ledger, Plan, Pool, latecomers, load_buyers, rush, verify
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import load_settings

OPENS_IN_S = 4.0
STAMPEDE_S = 5.0
PAY_WITHIN_S = 12
PATIENCE_S = 18.0
"""How long latecomers stay, whatever happens: long enough to see unpaid units come back once."""
LATECOMERS = 1_000
SETTLE_S = 20.0
NEVER_PAYS_ONE_IN = 10
ADMIN_EMAIL = "admin@doorbuster.example"

MISBEHAVIOUR: dict[str, Any] = {
    "late": 0.3,
    "late_ms": [100, 1500],
    "twice": 0.3,
    "out_of_order": 0.2,
    "drop_reply": 0.05,
    "forged": 0.05,
}


class DemoPlan(Struct, frozen=True, kw_only=True):
    buyers: int = 20_000
    units: int = 500
    seed: int = 1
    folder: Path | None = None
    stay_open: bool = True


async def run_demo(plan: DemoPlan) -> Verdict:
    """Runs the whole story and returns the verdict; with `stay_open` only after Ctrl-C. Raises ShopFailed."""
    console = Console(stderr=True, highlight=False)
    folder = plan.folder or _fresh_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ShopFailed(f"{folder} is not empty: the demo wants a data folder of its own")
    settings = load_settings(environment={}, overrides={"data": str(folder)})
    webhook_secrets = load_secrets(settings).webhook_secrets
    simulator = SimulatorProcess(
        folder / "provider.sqlite", secrets=webhook_secrets, seed=plan.seed, misbehaviour=MISBEHAVIOUR
    )
    with simulator:
        async with shop_process(folder, simulator.base_url, folder / "serve.log", _port()) as shop:
            _step(console, f"The shop is open at {shop.base_url} (one command, SQLite files in {folder})")
            verdict = await _Story(plan, shop, console).tell()
            if plan.stay_open:
                await _stay_open(console, shop)
    return verdict


class _Story:
    def __init__(self, plan: DemoPlan, shop: ShopProcess, console: Console) -> None:
        self._plan = plan
        self._shop = shop
        self._console = console
        self._chance = random.Random(plan.seed)
        self._ledger = Ledger()
        self._paying: list[asyncio.Task[str]] = []

    async def tell(self) -> Verdict:
        started_s = time.monotonic()
        buyers = await self._prepare()
        sale = await self._announce_sale()
        stampede = Plan(
            base_url=self._shop.base_url,
            sale_id=sale["id"],
            rate_per_s=len(buyers) / STAMPEDE_S,
            spacing="poisson",
            seed=self._plan.seed,
        )
        async with Pool(self._shop.base_url) as pool, Pool(self._shop.simulator_url) as provider:
            shopper = Shopper(pool, provider)
            await self._stampede(stampede, buyers)
            self._pay_first_wave(shopper)
            await self._wait_for_latecomers(stampede, shopper)
            slugs = await asyncio.gather(*self._paying)
            _step(
                self._console, f"{sum(slug == 'paid' for slug in slugs)} winners have paid; waiting for the callbacks"
            )
            counts = await shopper.wait_settled(self._ledger.promises(), SETTLE_S)
        _step(self._console, "Proving it: every acknowledgement against the public API, every row against every other")
        verification = await verify(stampede, self._ledger)
        audit = await self._shop.command("audit", "--simulator", self._shop.simulator_url)
        captures = await captured_at_provider(self._shop.simulator_url)
        verdict = Verdict.of(self._plan.units, counts, verification, captures, audit, time.monotonic() - started_s)
        print_verdict(self._console, verdict, audit)
        return verdict

    async def _prepare(self) -> Sequence[Buyer]:
        imported = await self._shop.command("import", "--sample")
        _step(self._console, f"Imported {imported['created']} products")
        file = self._shop.folder / "buyers.jsonl"
        created = await self._shop.command("buyers", "create", str(self._plan.buyers), "--out", str(file))
        _step(self._console, f"Created {created['created']} buyers, each with a token of their own")
        return load_buyers(file)

    async def _announce_sale(self) -> dict[str, Any]:
        """The shop engineer's part: logs in as an admin and schedules the sale over the API."""
        password = secrets.token_urlsafe(12)
        environment = {"DOORBUSTER_STAFF_PASSWORD": password}
        await self._shop.command("staff", "create", ADMIN_EMAIL, environment=environment)
        async with Pool(self._shop.base_url) as http:
            session = await _ask(http, "POST", "/v1/sessions", {"email": ADMIN_EMAIL, "password": password})
            products = (await _ask(http, "GET", "/v1/products?limit=100"))["items"]
            sku = self._chance.choice(products)["skus"][0]
            opens_ms = time.time_ns() // 1_000_000 + int(OPENS_IN_S * 1000)
            terms = {
                "sku_id": sku["id"],
                "units": self._plan.units,
                "price": {**sku["price"], "amount": max(1, sku["price"]["amount"] // 2)},
                "limit_per_customer": 1,
                "opens_at": rfc3339(opens_ms),
                "closes_at": rfc3339(opens_ms + 3_600_000),
                "pay_within_s": PAY_WITHIN_S,
            }
            headers = {
                "Authorization": f"Bearer {session['access_token']}",
                "Idempotency-Key": secrets.token_hex(8),
            }
            sale = await _ask(http, "POST", "/v1/sales", terms, headers)
        _step(
            self._console,
            f"Sale of {self._plan.units} × {sale['title']}, one per customer; log in as {ADMIN_EMAIL} / {password}",
        )
        await self._count_down(parse_rfc3339(sale["opens_at"]))
        return sale

    async def _count_down(self, opens_ms: int) -> None:
        while (left_ms := opens_ms - time.time_ns() // 1_000_000) > 0:
            self._console.print(f"    opens in {-(-left_ms // 1000)} s")
            await asyncio.sleep(min(1.0, left_ms / 1000))

    async def _stampede(self, stampede: Plan, buyers: Sequence[Buyer]) -> None:
        _step(
            self._console,
            f"{len(buyers)} buyers arrive within {STAMPEDE_S:.0f} s; one in five double-clicks, one in twenty cheats",
        )
        with LiveView(self._console, self._plan.units) as view:
            load = await rush(stampede, buyers, self._ledger, view.show)
        _step(
            self._console,
            f"{load.sent} requests: {load.claimed} claims, {load.replayed} repeated answers, "
            f"{load.refused_by_slug}; {load.errors} errors, {load.unknown} unknown; "
            f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms",
        )

    def _pay_first_wave(self, shopper: Shopper) -> None:
        winners = self._ledger.promises()
        never = set(self._chance.sample(range(len(winners)), len(winners) // NEVER_PAYS_ONE_IN))
        self._paying += [
            asyncio.create_task(shopper.pay(ack)) for number, ack in enumerate(winners) if number not in never
        ]
        _step(
            self._console,
            f"{len(winners) - len(never)} winners go to the cash desk, {len(never)} never pay; "
            f"callbacks come late, twice, out of order and forged",
        )

    async def _wait_for_latecomers(self, stampede: Plan, shopper: Shopper) -> None:
        """Some of those who got nothing stay and watch; when units come back, they are people in a hurry again."""
        empty_handed = self._ledger.empty_handed()
        staying = self._chance.sample(empty_handed, min(LATECOMERS, len(empty_handed)))
        _step(self._console, f"{len(staying)} of those who got nothing keep watching for {PATIENCE_S:.0f} s")

        def pay(ack: Ack) -> None:
            self._paying.append(asyncio.create_task(shopper.pay(ack)))

        late = await latecomers(stampede, staying, PATIENCE_S, pay, ledger=self._ledger)
        _step(self._console, f"Unpaid units came back: latecomers claimed {late.claimed} in {late.tries} tries")


async def _ask(
    http: Pool, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A call that must succeed. Raises ShopFailed."""
    content = b"" if body is None else msgspec.json.encode(body)
    answer = await http.request(method, path, {**JSON, **(headers or {})}, content)
    if answer.status >= 300:
        raise ShopFailed(f"{method} {path} was answered {answer.status}: {answer.body.decode(errors='replace')}")
    return answer.json(dict[str, Any])


async def _stay_open(console: Console, shop: ShopProcess) -> None:
    console.print(
        f"\nThe shop stays open. API documentation: {shop.base_url}/docs   OpenAPI: {shop.base_url}/openapi.json\n"
        f"Log in: POST {shop.base_url}/v1/sessions with the e-mail address and password above.\n"
        f"Its log: {shop.folder}/serve.log   Ctrl-C ends it."
    )
    try:
        status = await shop.process.wait()
        raise ShopFailed(f"the server ended with status {status}")
    except asyncio.CancelledError:
        console.print("\nClosing the shop.")


def _fresh_folder() -> Path:
    parent = Path("data")
    parent.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("demo-%Y%m%d-%H%M%S-"), dir=parent))


def _port() -> int:
    """The port people expect, if it is free."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            return free_port()
    return 8000


def _step(console: Console, words: str) -> None:
    console.print(f"● {words}")
