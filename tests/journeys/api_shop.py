"""A shop as the world sees it: a server process, real HTTP, people with tokens, and its rows read from outside."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import selectors
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import pytest

from doorbuster.apps.http_app import shedder_of
from doorbuster.apps.shop import CONTEXTS, migrate_all, open_shop
from doorbuster.edge.api import build_api
from doorbuster.edge.operations import operation_routes
from doorbuster.kernel.principal import ACCOUNT_ROLES, ROLES, Principal, Role
from doorbuster.lab.payment_simulator.signatures import sign
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.http.faces import roles_of
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from postgres_server import PostgresServer

T = TypeVar("T")
Snapshot = dict[str, tuple[int, str]]

READY_S_MAX = 30.0
STOP_S_MAX = 20.0
EVENTUALLY_S_MAX = 20.0
QUIET_S = 0.4
RAW_S_MAX = 10.0
COPIES_PLACE = "catalog.bus_positions"
"""How far the catalogue's copies have followed its events: kept behind everybody's back, and nobody's request."""
HOUSEKEEPING = ("next_check_ms", "checks")
"""Columns that the back room moves on by itself while a payment is open."""
CREATED_AT = frozenset({"/v1/conversations", "/v1/products", "/v1/sales", "/v1/carts"})
"""Where the address of what was created is that of the collection and its id."""
PASSWORD = "correct horse battery"
HOUR_S = 3600
YUAN = "CNY"

ROLE_OF: Mapping[str, Role] = {
    "owner": "customer",
    "other": "customer",
    "merchant": "merchant",
    "rival": "merchant",
    "courier": "courier",
    "rider": "courier",
    "support": "support",
    "admin": "admin",
    "guest": "guest",
}


@dataclass(frozen=True)
class Person:
    name: str
    account_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class ApiShop:
    """A running server. `client` keeps its connections; rude clients open sockets of their own."""

    base_url: str
    folder: Path
    log: Path
    settings: Settings
    people: Mapping[str, Person]
    client: httpx.Client
    simulator_url: str = ""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Where what was created can be read, and by whom."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.base_url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def key(self) -> str:
        """An idempotency key that nobody has used, also of another server on the same data."""
        return f"key-{self.address[1]}-{next(self._numbers)}"

    def role_of(self, who: str) -> Role:
        return ROLE_OF[who]

    def ask(
        self,
        method: str,
        path: str,
        who: str | None = None,
        body: object = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request; `body` goes as JSON unless it is bytes."""
        sent = dict(headers or {})
        if who is not None:
            sent |= self.people[who].headers
        if key is not None:
            sent["Idempotency-Key"] = key
        if isinstance(body, bytes):
            return self.client.request(method, path, content=body, headers={"Content-Type": "application/json"} | sent)
        request = self.client.build_request(method, path, json=body, headers=sent)
        response = self.client.send(request, stream=True)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            response.close()  # it has no end
        else:
            response.read()
        return response

    def get(self, path: str, who: str | None = None) -> Any:
        return good(self.ask("GET", path, who), 200)

    def post(self, path: str, who: str | None, body: object, status: int = 201) -> Any:
        answer = good(self.ask("POST", path, who, body, key=self.key()), status)
        if who is not None and status == 201:
            if "order_id" in answer and path.endswith("/checkout"):
                self.acknowledged[f"/v1/orders/{answer['order_id']}"] = who
            elif path in CREATED_AT and "id" in answer:
                self.acknowledged[f"{path}/{answer['id']}"] = who
        return answer

    def put(self, path: str, who: str | None, body: object) -> Any:
        return good(self.ask("PUT", path, who, body), 200)

    def product(self, who: str = "merchant", amount: int = 1990) -> Any:
        code = f"SKU-{self.key()}".upper()
        sku = {"code": code, "price": {"amount": amount, "currency": YUAN}}
        body = {"title": {"en": "Tea tray", "zh": "茶盘"}, "category": "tea", "status": "active", "skus": [sku]}
        return self.post("/v1/products", who, body)

    def sale_body(self, sku_id: str, **changes: object) -> dict[str, Any]:
        """A sale that is open now."""
        return {
            "sku_id": sku_id,
            "units": 10,
            "price": {"amount": 990, "currency": YUAN},
            "opens_at": "2026-01-01T00:00:00Z",
            "closes_at": "2999-01-01T00:00:00Z",
            "limit_per_customer": 5,
            "pay_within_s": 3600,
            **changes,
        }

    def sku_in_stock(self, who: str = "merchant", units: int = 1000, amount: int = 1990) -> str:
        """A SKU that the merchant has received units of; its id."""
        sku_id: str = self.product(who, amount)["skus"][0]["id"]
        self.post("/v1/stock/receipts", who, {"lines": [{"sku_id": sku_id, "quantity": units}]})
        return sku_id

    def sale(self, who: str = "merchant", **changes: object) -> Any:
        terms = self.sale_body("", **changes)
        terms["sku_id"] = self.sku_in_stock(who, max(1000, terms["units"]))
        return self.post("/v1/sales", who, terms)

    def claim(self, sale_id: str, who: str = "owner", quantity: int = 1) -> Any:
        return self.post(f"/v1/sales/{sale_id}/claims", who, {"quantity": quantity})

    def order(self, who: str = "owner", sale_id: str | None = None) -> Any:
        """An order of a new sale, as it can be read at once."""
        claim = self.claim(sale_id or self.sale()["id"], who)
        return self.get(f"/v1/orders/{claim['order_id']}", who)

    def payment(self, order: Mapping[str, Any], who: str = "owner") -> Any:
        return self.post(f"/v1/orders/{order['id']}/payments", who, {"amount": order["total"]})

    def pay(self, payment: Mapping[str, Any]) -> None:
        """What the payer's browser does at the provider."""
        checkout = payment["checkout_url"].rstrip("/")
        good(httpx.post(f"{checkout}/confirm", json={"outcome": "success"}, verify=False), 200)

    def call_back(
        self,
        body: bytes,
        provider: str = "simulator",
        offset_s: int = 0,
        signature: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A callback of the payment provider, signed now unless told otherwise."""
        secrets = [secret.encode() for secret in load_secrets(self.settings).webhook_secrets]
        signed = sign(secrets, int(time.time()) + offset_s, body) if signature is None else signature
        sent = {"Doorbuster-Signature": signed, **(headers or {})}
        return self.ask("POST", f"/v1/payments/webhooks/{provider}", body=body, headers=sent)

    def status_of(self, order: Mapping[str, Any], who: str = "owner") -> str:
        return self.get(f"/v1/orders/{order['id']}", who)["status"]

    def rows(self) -> Snapshot:
        """For every table of every context how many rows it has, and a digest of what is in them."""
        url = self.settings.database.url
        found = run(_postgres_rows(url)) if url else sqlite_rows(self.folder)
        found.pop(COPIES_PLACE, None)
        return found

    @contextmanager
    def unchanged(self, besides: str = "") -> Generator[None]:
        """What is asked within writes nothing (but for one table)."""
        before = self.rows()
        yield
        written = difference(before, self.rows())
        written.pop(besides, None)
        assert not written, written

    def settle(self) -> None:
        """Waits until what was begun has come to rest: nothing is written for longer than any sweep takes."""
        seen, since_s = self.rows(), time.monotonic()
        deadline_s = since_s + EVENTUALLY_S_MAX
        while time.monotonic() < since_s + QUIET_S:
            assert time.monotonic() < deadline_s, "the shop does not come to rest"
            time.sleep(0.05)
            now = self.rows()
            if now != seen:
                seen, since_s = now, time.monotonic()

    def logged(self) -> list[dict[str, Any]]:
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def raw(self, sent: bytes, half_close: bool = False) -> bytes:
        """Sends bytes as they are and reads until the server closes."""
        with socket.create_connection(self.address, timeout=RAW_S_MAX) as connection:
            connection.sendall(sent)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


def good(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json() if response.content else None


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and slug of a refusal that is a proper problem and tells nothing of how the shop is made."""
    text = response.text
    assert response.headers["content-type"] == "application/problem+json", text
    assert response.headers["cache-control"] == "no-store"
    document = response.json()
    assert document["status"] == response.status_code
    assert document["type"] == f"/problems/{document['slug']}"
    assert document["title"] and document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    for secret in ("Traceback", "sqlite", "asyncpg", "SELECT ", "INSERT ", "/src/", "site-packages", ".py", " at 0x"):
        assert secret not in text, text
    return response.status_code, document["slug"]


def difference(before: Snapshot, after: Snapshot) -> dict[str, str]:
    names = sorted(before.keys() | after.keys())
    return {name: f"{before.get(name)} → {after.get(name)}" for name in names if before.get(name) != after.get(name)}


def eventually(true: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + EVENTUALLY_S_MAX
    while not true():
        assert time.monotonic() < deadline_s, f"never: {what}"
        time.sleep(0.02)


def run(work: Coroutine[Any, Any, T]) -> T:
    """On a loop of its own, leaving that of pytest-asyncio alone."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)


# --- starting one -----------------------------------------------------------------------------------------------


@contextmanager
def api_shop(
    folder: Path, *, database_url: str = "", with_payments: bool = False, back_room: bool = False, **environment: str
) -> Generator[ApiShop]:
    """A server on a fresh data folder; its log must not hold a failure in the end."""
    settings = Settings(data=str(folder / "data"), database=DatabaseSettings(url=database_url))
    people = run(hire(settings))
    log = folder / "server.log"
    with _simulator(settings, folder, with_payments) as simulator_url:
        process = start(settings, log, simulator_url, back_room, environment)
        try:
            base_url = await_ready(process, log)
            with httpx.Client(base_url=base_url, verify=False, timeout=30) as client:
                shop = ApiShop(base_url, Path(settings.data), log, settings, people, client, simulator_url)
                yield shop
                failures = [line for line in shop.logged() if line["event"] == "request failed"]
                assert failures == []
                assert "Traceback" not in log.read_text("utf-8", "replace")
        finally:
            stop(process)


@contextmanager
def empty_database(server: PostgresServer) -> Iterator[str]:
    """The address of a PostgreSQL database of its own."""
    name = f"t{uuid.uuid4().hex[:12]}"

    async def execute(statement: str) -> None:
        admin = await asyncpg.connect(server.url)
        await admin.execute(statement)
        await admin.close()

    run(execute(f'CREATE DATABASE "{name}"'))
    yield server.url_of(name)
    run(execute(f'DROP DATABASE "{name}" WITH (FORCE)'))


@contextmanager
def shop_on(request: pytest.FixtureRequest, folder: Path) -> Iterator[ApiShop]:
    """With payments, on the engine that the fixture's parameter names: on SQLite with the back room in its own process,
    as it is served by default."""
    if request.param == "sqlite":
        with api_shop(folder, with_payments=True, back_room=True) as shop:
            yield shop
    else:
        server = request.getfixturevalue("postgres")
        with empty_database(server) as url, api_shop(folder, database_url=url, with_payments=True) as shop:
            yield shop


async def hire(settings: Settings) -> dict[str, Person]:
    """The people of the tests, and tokens that outlive them. None has a password: hashing one takes its time."""
    if settings.database.url:
        await migrate_all(settings)
    async with open_shop(settings) as shop:
        buyers = await shop.accounts.service.create_buyers(len(ROLE_OF), HOUR_S)
        return {
            name: Person(name, str(buyer.id), shop.ring.sign(Principal(buyer.id, role), HOUR_S))
            for (name, role), buyer in zip(ROLE_OF.items(), buyers, strict=True)
        }


@contextmanager
def _simulator(settings: Settings, folder: Path, wanted: bool) -> Iterator[str]:
    if not wanted:
        yield ""
        return
    with SimulatorProcess(folder / "simulator.sqlite", secrets=load_secrets(settings).webhook_secrets) as simulator:
        yield simulator.base_url


def start(
    settings: Settings, log: Path, simulator_url: str, back_room: bool, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    # Not port 0: the payment provider must know where to call back before the server listens.
    command = [sys.executable, "-m", "doorbuster", "serve", "--port", str(_free_port()), "--json"]
    command += ["--data", settings.data, "--back-room" if back_room else "--no-back-room"]
    if simulator_url:
        command += ["--simulator", simulator_url]
    variables = {**os.environ, "DOORBUSTER_PROCESS_LOG_JSON": "true", **environment}
    if settings.database.url:
        variables["DOORBUSTER_DATABASE_URL"] = settings.database.url
    with log.open("ab") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file, env=variables)


def await_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(READY_S_MAX) else b""
    assert line, f"the server did not start: {log.read_text('utf-8', 'replace')}"
    return json.loads(line)["base_url"]


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- its rows ---------------------------------------------------------------------------------------------------


def sqlite_rows(folder: Path) -> Snapshot:
    found: Snapshot = {}
    for context in CONTEXTS:
        connection = sqlite3.connect(f"file:{folder / context}.sqlite?mode=ro", uri=True)
        try:
            connection.execute("BEGIN")
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
            for (table,) in tables:
                connection.row_factory = sqlite3.Row
                rows = [repr(_without_housekeeping(row)) for row in connection.execute(f'SELECT * FROM "{table}"')]
                found[f"{context}.{table}"] = (len(rows), _digest(rows))
        finally:
            connection.close()
    return found


async def _postgres_rows(url: str) -> Snapshot:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            tables = await connection.fetch(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY($1::text[]) ORDER BY 1, 2",
                list(CONTEXTS),
            )
            found: Snapshot = {}
            for schema, table in tables:
                rows = [
                    repr(_without_housekeeping(row))
                    for row in await connection.fetch(f'SELECT * FROM "{schema}"."{table}"')
                ]
                found[f"{schema}.{table}"] = (len(rows), _digest(rows))
            return found
    finally:
        await connection.close()


def _without_housekeeping(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() if name not in HOUSEKEEPING}  # noqa: SIM118 - a sqlite3.Row


def _digest(rows: list[str]) -> str:
    return hashlib.blake2b("\n".join(sorted(rows)).encode(), digest_size=8).hexdigest()


# --- its routes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Route:
    """`roles` may call it: () is everybody, None a route that declares no policy."""

    method: str
    path: str
    roles: tuple[Role, ...] | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def routes_of_the_app(folder: Path) -> list[Route]:
    """Every route of the application, taken from the application itself."""
    return run(_routes_of_the_app(Settings(data=str(folder))))


async def _routes_of_the_app(settings: Settings) -> list[Route]:
    async def ready() -> Sequence[str]:
        return ()

    async with open_shop(settings) as shop:
        faces = [context.faces() for context in shop.contexts]
        raw = [route for face in faces for route in face.raw_routes]
        live = [route for face in faces for route in face.live_routes]
        operations = operation_routes(shop.platform.neighbours, shedder_of(shop), shop.catalog.copies)
        api = build_api([*(route for face in faces for route in face.routes), *operations], raw, ready, live)
        found = [
            Route(method, getattr(route, "path_format", route.path), roles_of(handler))
            for route in api.routes
            for handler in getattr(route, "route_handlers", [])
            for method in handler.http_methods
            if method != "OPTIONS"
        ]
        return found + [
            Route(
                route.method,
                route.path,
                _roles_of_operation(route.operation) if route.operation.get("security") else (),
            )
            for route in raw
        ]


def _roles_of_operation(operation: Mapping[str, Any]) -> tuple[Role, ...]:
    """What the description of a raw route says, as the documents of all others do; any account if it names none."""
    named = operation.get("description", "").partition("Roles: ")[2]
    return tuple(role for role in ROLES if role in named) or ACCOUNT_ROLES
