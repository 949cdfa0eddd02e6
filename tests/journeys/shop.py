"""A real shop to be mistreated: `doorbuster serve` on a folder or a PostgreSQL, killed and started again at will."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncpg
import msgspec

from doorbuster.apps.proof import audit_shop
from doorbuster.apps.shop import open_shop
from doorbuster.lab.audit.report import AuditReport
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Buyer, LaneLimits, NoAnswerError, Pool, load_buyers
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import DatabaseSettings, PaymentsSettings, Settings

BUYERS = 1_600
PRICE = 990
READY_S_MAX = 20.0
END_S_MAX = 20.0
COMMAND_S_MAX = 60.0
RECOVERY_S_MAX = 30.0
POLL_S = 0.02

SALES: Mapping[str, tuple[int, int]] = {"rush": (800, 900), "desk": (100, 900), "hasty": (60, 1)}
"""(units, seconds to pay) of the sales every shop has; one unit per customer, open all day."""

PROVIDER_ARGUMENTS = ("--retry-base-ms", "50", "--retry-cap-ms", "400", "--tries-max", "100")
"""A provider that calls again soon: whoever was dead has little time to be missed."""


class Answer(msgspec.Struct, frozen=True):
    """What a command printed as its last line, and its exit status."""

    status: int
    body: dict[str, Any]


class Audit(msgspec.Struct, frozen=True):
    """The checks of an audit by name: their verdicts, and who breaks them."""

    status: int
    ok: bool
    verdicts: dict[str, str]
    breaches: dict[str, list[str]]

    @classmethod
    def of(cls, answer: Answer) -> Audit:
        checks = answer.body["checks"]
        return cls(
            answer.status,
            answer.body["ok"],
            {check["name"]: check["verdict"] for check in checks},
            {check["name"]: check["breaches"] for check in checks if check["breaches"]},
        )

    @property
    def everything_holds(self) -> bool:
        return self.ok and self.status == 0 and set(self.verdicts.values()) == {"holds"}


@dataclass
class Shop:
    """One shop on one port; `database_url` is empty on SQLite. `sales` holds the id of each of SALES."""

    folder: Path
    database_url: str = ""
    simulator: SimulatorProcess | None = None
    sales: dict[str, str] = field(default_factory=dict)
    _port: int = 0
    _process: asyncio.subprocess.Process | None = None
    _log_begins: int = 0

    def __post_init__(self) -> None:
        self._port = self._port or _free_port()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def buyers(self) -> list[Buyer]:
        return load_buyers(self.folder / "buyers.jsonl")

    # --- the process ------------------------------------------------------------------------------------------------

    async def start(self, crash_at: str = "", rooms: Sequence[str] = ()) -> float:
        """Starts the server and waits until it answers; seconds that took. `rooms`: more options of `serve`."""
        assert self._process is None, "it runs already"
        started_s = time.monotonic()
        provider = ("--simulator", self.simulator.base_url) if self.simulator is not None else ()
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *_doorbuster("serve", *self._where(), "--port", str(self._port), *provider, *rooms, "--json"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=_environment(DOORBUSTER_CRASH_AT=crash_at),
                start_new_session=True,  # a group of its own, that can be killed as a whole
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_S_MAX):
            line = await self._process.stdout.readline()
        assert line, f"the server did not start:\n{self.said()}"
        return time.monotonic() - started_s

    async def stop(self) -> None:
        """In order, as SIGTERM asks for."""
        if self._process is not None:
            self._process.terminate()
            await self.died()

    async def kill(self) -> None:
        """kill -9 of the front; the back room is to find out by itself."""
        assert self._process is not None
        self._process.kill()
        await self.died()

    async def cut_the_power(self) -> None:
        """kill -9 of all processes at once; nothing is left of them."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self.died()

    async def died(self) -> int:
        """Waits for the end of the front; its status."""
        assert self._process is not None
        async with asyncio.timeout(END_S_MAX):
            status = await self._process.wait()
        self._process = None
        return status

    async def back_room_died(self) -> None:
        """Waits for the front to notice the end of its back room."""
        await until(lambda: "back room died" in self.said(), END_S_MAX, self.said)

    def said(self) -> str:
        """The log since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace")

    # --- from outside -----------------------------------------------------------------------------------------------

    async def command(self, *words: str) -> Answer:
        """`doorbuster <words> --json` on this shop's stores."""
        child = await asyncio.create_subprocess_exec(
            *_doorbuster(*words, *self._where(), "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
        )
        async with asyncio.timeout(COMMAND_S_MAX):
            output, errors = await child.communicate()
        assert output, f"doorbuster {' '.join(words)}: {errors.decode(errors='replace')[-3000:]}"
        assert child.returncode is not None
        return Answer(child.returncode, msgspec.json.decode(output.splitlines()[-1], type=dict[str, Any]))

    async def audit(self) -> Audit:
        provider = ("--simulator", self.simulator.base_url) if self.simulator is not None else ()
        return Audit.of(await self.command("audit", *provider))

    async def recovered(self) -> float:
        """Waits until the audit says that everything holds; seconds that took."""
        started_s = time.monotonic()
        async with self.auditor() as audit:
            while True:
                report = await audit()
                broken = [check for check in report.checks if not check.ok]
                assert not broken, broken
                moving = [check for check in report.checks if check.verdict != "holds"]
                if not moving:
                    return time.monotonic() - started_s
                assert time.monotonic() < started_s + RECOVERY_S_MAX, moving

    @asynccontextmanager
    async def auditor(self) -> AsyncIterator[Callable[[], Awaitable[AuditReport]]]:
        """The audit command without a process of its own, to be asked often."""
        database = DatabaseSettings(url=self.database_url)
        payments = PaymentsSettings(simulator_url=self.simulator.base_url if self.simulator is not None else "")
        settings = Settings(data=str(self.folder), database=database, payments=payments)
        async with open_shop(settings) as opened:
            yield lambda: audit_shop(opened)

    async def rows(self, context: str, sql: str) -> list[tuple[Any, ...]]:
        """What a context's tables hold, read past the shop."""
        if not self.database_url:
            with contextlib.closing(sqlite3.connect(self.folder / f"{context}.sqlite")) as connection:
                return connection.execute(sql).fetchall()
        connection = await asyncpg.connect(self.database_url, server_settings={"search_path": context})
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    def execute(self, context: str, *statements: str) -> None:
        """Changes rows of an embedded store behind the shop's back."""
        with contextlib.closing(sqlite3.connect(self.folder / f"{context}.sqlite")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def _where(self) -> list[str]:
        database = ["--database", self.database_url] if self.database_url else []
        return ["--data", str(self.folder), *database]


async def prepare(shop: Shop, sales: Sequence[str] = tuple(SALES)) -> None:
    """A catalogue, buyers and sales, made as an operator makes them: on the command line."""
    if shop.database_url:
        await shop.command("migrate")
    await shop.command("import", "--sample", "--stock", "1000000")
    (sku_id,) = (await shop.rows("catalog", "SELECT min(id) FROM skus"))[0]
    await shop.command("buyers", "create", str(BUYERS), "--out", str(shop.folder / "buyers.jsonl"))
    for name in sales:
        units, pay_within_s = SALES[name]
        words = ["--units", str(units), "--price", str(PRICE), "--pay-within-s", str(pay_within_s)]
        hours = ["--opens-in-s", "0", "--open-for-s", "86400"]
        answer = await shop.command("sale", "create", str(sku_id), *words, *hours)
        shop.sales[name] = answer.body["id"]


_prepared: list[Shop] = []


async def prepared_shop() -> Shop:
    """An embedded shop that nobody runs, to be copied: preparing it takes longer than most crashes."""
    if not _prepared:
        folder = Path(tempfile.mkdtemp(prefix="doorbuster-prepared-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        shop = Shop(folder)
        await prepare(shop)
        _prepared.append(shop)
    return _prepared[0]


@asynccontextmanager
async def embedded_shop(folder: Path, **provider: Any) -> AsyncIterator[Shop]:
    """A prepared shop of one's own that nobody runs yet, and its provider, who does. Nothing of it stays alive."""
    shop = copy_of(await prepared_shop(), folder / "data")
    shop.simulator = provider_of(shop, folder / "provider.sqlite", **provider).start()
    try:
        yield shop
    finally:
        await shop.cut_the_power()
        shop.simulator.kill()


def copy_of(shop: Shop, folder: Path) -> Shop:
    """The same embedded shop in another folder, with nobody running it."""
    shutil.copytree(shop.folder, folder, ignore=shutil.ignore_patterns("lock", "provider.*", "serve.log"))
    return Shop(folder, sales=dict(shop.sales))


def provider_of(shop: Shop, file: Path, **options: Any) -> SimulatorProcess:
    """A payment provider whose callbacks this shop believes. Not started."""
    secrets = load_secrets(Settings(data=str(shop.folder))).webhook_secrets
    return SimulatorProcess(file, secrets=secrets, arguments=PROVIDER_ARGUMENTS, **options)


async def until(holds: Callable[[], bool], within_s: float, explain: Callable[[], object] = lambda: "") -> None:
    """Waits for something to become true."""
    give_up_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_s, f"it did not become true within {within_s} s: {explain()}"
        await asyncio.sleep(POLL_S)


# --- people ---------------------------------------------------------------------------------------------------------


class Desk:
    """Shoppers at one shop: what they ask, and how patiently."""

    def __init__(self, shop: Shop, pool: Pool, provider: Pool | None) -> None:
        self._shop = shop
        self._pool = pool
        self._provider = provider
        self.patient = False
        """Asks again, with the same key, until there is an answer that will not change."""

    async def ask(self, method: str, path: str, buyer: Buyer, key: str = "", body: object = None) -> dict[str, Any]:
        """The body of the answer with its `status_code`; without patience maybe an empty one."""
        headers = {"Authorization": f"Bearer {buyer.token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        payload = msgspec.json.encode(body) if body is not None else b""
        return await self._insist(self._pool, method, path, headers, payload)

    async def _insist(
        self, pool: Pool, method: str, path: str, headers: Mapping[str, str], payload: bytes
    ) -> dict[str, Any]:
        give_up_s = time.monotonic() + END_S_MAX
        while True:
            answer: dict[str, Any] = {}
            with contextlib.suppress(NoAnswerError):
                response = await pool.request(method, path, headers, payload)
                answer = {**response.json(dict[str, Any]), "status_code": response.status}
            again = not answer or answer["status_code"] >= 500 or answer.get("slug") == "payment-in-progress"
            if not (again and self.patient):
                return answer
            assert time.monotonic() < give_up_s, f"{method} {path}: {answer or 'no answer'}"
            await asyncio.sleep(POLL_S)

    async def claim(self, buyer: Buyer, sale: str) -> str:
        """The order's id; empty without an answer."""
        path = f"/v1/sales/{self._shop.sales[sale]}/claims"
        answer = await self.ask("POST", path, buyer, f"claim-{sale}", {"quantity": 1})
        assert answer.get("status_code", 201) in (201, 503), answer
        return str(answer.get("order_id", ""))

    async def pay(self, buyer: Buyer, order_id: str) -> None:
        """Opens a payment and presses the button at the provider."""
        assert self._provider is not None
        amount = {"amount": PRICE, "currency": "CNY"}
        opened = await self.ask("POST", f"/v1/orders/{order_id}/payments", buyer, "pay", {"amount": amount})
        if "checkout_url" in opened:
            path = opened["checkout_url"].removeprefix(self._shop_provider().base_url)
            json = {"Content-Type": "application/json"}
            await self._insist(self._provider, "POST", f"{path}/confirm", json, b'{"outcome":"success"}')

    async def cancel(self, buyer: Buyer, order_id: str) -> None:
        await self.ask("POST", f"/v1/orders/{order_id}/cancel", buyer, "cancel", {})

    async def status(self, buyer: Buyer, order_id: str) -> str:
        return str((await self.ask("GET", f"/v1/orders/{order_id}", buyer)).get("status", ""))

    async def comes_to(self, buyer: Buyer, order_id: str, *statuses: str) -> None:
        """Waits until an order stands at one of `statuses`."""
        give_up_s = time.monotonic() + RECOVERY_S_MAX
        while (status := await self.status(buyer, order_id)) not in statuses:
            assert time.monotonic() < give_up_s, f"order {order_id} is {status or 'not answered for'}"
            await asyncio.sleep(POLL_S)

    def _shop_provider(self) -> SimulatorProcess:
        assert self._shop.simulator is not None
        return self._shop.simulator


@asynccontextmanager
async def desk_at(shop: Shop) -> AsyncIterator[Desk]:
    limits = LaneLimits(connections=16, timeout_s=5.0, wait_s=0.5)
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(shop.base_url, limits))
        provider = None
        if shop.simulator is not None:
            provider = await stack.enter_async_context(Pool(shop.simulator.base_url, limits))
        yield Desk(shop, pool, provider)


async def each(buyers: Sequence[Buyer], work: Callable[[Buyer], Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(work(buyer) for buyer in buyers)))


async def statement_of(simulator: SimulatorProcess) -> list[tuple[str, str]]:
    """(kind, order id) of every movement of money, as the provider booked it."""
    lines: list[tuple[str, str]] = []
    cursor = ""
    async with Pool(simulator.base_url) as pool:
        while True:
            page = (await pool.request("GET", f"/v1/statement?limit=500{cursor}")).json(dict[str, Any])
            lines += [(line["kind"], line["order_id"]) for line in cast("list[dict[str, str]]", page["items"])]
            if page["next_cursor"] is None:
                return lines
            cursor = f"&after={page['next_cursor']}"


def _doorbuster(*words: str) -> list[str]:
    return [sys.executable, "-m", "doorbuster", *words]


def _environment(**more: str) -> dict[str, str]:
    """Ours without what would change the shop's settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DOORBUSTER_")}
    return {**own, "DOORBUSTER_PROCESS_LOG_JSON": "true", "DOORBUSTER_PAYMENTS_PROVIDER_TIMEOUT_S": "1", **more}


def _free_port() -> int:
    """Below the ports that the system gives to clients: while the shop is dead, none of them must take its place."""
    for port in random.sample(range(15_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
