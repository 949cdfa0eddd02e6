"""The demo from the opening of the shop to the verdict: three acts, and the proof."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console

from doorbuster.lab.demo.door.act import DoorAct
from doorbuster.lab.demo.life import SecondAct
from doorbuster.lab.demo.mail import Mailboxes, mail_catcher
from doorbuster.lab.demo.sale import FirstAct
from doorbuster.lab.demo.shop_process import ShopFailed, ShopProcess, free_port, shop_process
from doorbuster.lab.demo.shoppers import Shopper
from doorbuster.lab.demo.statement import captured_at_provider
from doorbuster.lab.demo.verdict import Verdict, print_verdict
from doorbuster.lab.demo.view import act, step
from doorbuster.lab.demo.webhooks import MerchantServer, merchant_server
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Pool
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.sources import load_settings

MISBEHAVIOUR: dict[str, Any] = {
    "late": 0.3,
    "late_ms": [100, 1500],
    "twice": 0.3,
    "out_of_order": 0.2,
    "drop_reply": 0.05,
    "forged": 0.05,
}
SETTINGS = {
    "DOORBUSTER_NOTIFICATIONS_WEBHOOK_LOCAL": "true",  # the merchant's server listens on loopback
    "DOORBUSTER_DELIVERY_OFFER_S": "5",  # instead of 30: somebody lets one expire
    "DOORBUSTER_DELIVERY_ROUND_S": "0.25",
    "DOORBUSTER_DELIVERY_POSITION_EVERY_MS": "100",
}


DOOR_UNITS, CROWD_MIN = 200, 400
"""Of the third act: a crowd that is not larger than what is sold is none."""


class DemoPlan(Struct, frozen=True, kw_only=True):
    buyers: int = 20_000
    units: int = 500
    seed: int = 1
    crowd: int = 1_500
    """Accounts at the door in the third act, at least CROWD_MIN; 0: two acts are enough."""
    folder: Path | None = None
    stay_open: bool = True


class _World(Struct, frozen=True):
    """The processes of the demo."""

    shop: ShopProcess
    simulator: SimulatorProcess
    mailboxes: Mailboxes
    server: MerchantServer


async def run_demo(plan: DemoPlan) -> Verdict:
    """Runs the whole story and returns the verdict; with `stay_open` only after Ctrl-C. Raises ShopFailed."""
    console = Console(stderr=True, highlight=False)
    folder = plan.folder or _fresh_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ShopFailed(f"{folder} is not empty: the demo wants a data folder of its own")
    async with _open_world(plan, folder) as world:
        step(console, f"The shop is open at {world.shop.base_url} (one command, SQLite files in {folder})")
        step(console, "Beside it, processes of their own: a payment provider that misbehaves, and a mail server")
        password = secrets.token_urlsafe(12)
        verdict = await _tell(plan, world, console, password)
        if plan.stay_open:
            await _stay_open(console, world, password)
    return verdict


@asynccontextmanager
async def _open_world(plan: DemoPlan, folder: Path) -> AsyncGenerator[_World]:
    settings = load_settings(environment={}, overrides={"data": str(folder)})
    simulator = SimulatorProcess(
        folder / "provider.sqlite",
        secrets=load_secrets(settings).webhook_secrets,
        seed=plan.seed,
        misbehaviour=MISBEHAVIOUR,
    )
    async with AsyncExitStack() as stack:
        stack.enter_context(simulator)
        mailboxes = await stack.enter_async_context(mail_catcher(folder / "mail"))
        server = await stack.enter_async_context(merchant_server())
        environment = {**SETTINGS, **mailboxes.settings}
        running = shop_process(folder, simulator.base_url, folder / "serve.log", _port(), environment)
        yield _World(await stack.enter_async_context(running), simulator, mailboxes, server)


async def _tell(plan: DemoPlan, world: _World, console: Console, password: str) -> Verdict:
    started_s = time.monotonic()
    shop = world.shop
    async with Pool(shop.base_url) as http, Pool(shop.simulator_url) as provider:
        shopper = Shopper(http, provider)
        act(console, "Act one: the flash sale")
        sale = FirstAct(plan.units, plan.seed, shop, console, password)
        merchant, admin = await sale.prepare(http, plan.buyers)
        await sale.rush()
        act(console, "Act two: every order's whole life, while the last unpaid units come back on sale")
        door = DoorAct(shop, world.simulator, MISBEHAVIOUR, console, admin, DOOR_UNITS, plan.seed)
        life = SecondAct(shop, world.mailboxes, world.server, console, (merchant, admin), password)
        playing = asyncio.create_task(life.play(http, shopper))
        try:
            counts, _, _ = await asyncio.gather(sale.settle(shopper), playing, door.prepare(plan.crowd))
        finally:
            playing.cancel()
        if plan.crowd:
            act(console, "Act three: a waiting room, ten times the capacity, bots, and a provider that dies")
            await door.play()
        act(console, "The proof")
        step(console, "Every acknowledgement against the public API, every row against every other")
        verification = await sale.verify()
        audit = await shop.command("audit", "--simulator", shop.simulator_url)
        captures = await captured_at_provider(shop.simulator_url, sale.order_ids)
        judged = await life.judge(shop.simulator_url)
        held = await door.judge() if plan.crowd else None
    seconds = time.monotonic() - started_s
    verdict = Verdict.of(plan.units, counts, verification, captures, audit, judged, seconds, held)
    print_verdict(console, verdict, audit)
    return verdict


async def _stay_open(console: Console, world: _World, password: str) -> None:
    shop = world.shop
    console.print(
        f"\nThe shop stays open. API documentation: {shop.base_url}/docs   OpenAPI: {shop.base_url}/openapi.json\n"
        f"Log in: POST {shop.base_url}/v1/sessions, as admin@, merchant@ or support@doorbuster.example,\n"
        f"ada@ or bo@courier.example, all with the password {password}\n"
        f"E-mails: {world.mailboxes.folder}   Its log: {shop.folder}/serve.log   Ctrl-C ends it.",
        soft_wrap=True,
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
