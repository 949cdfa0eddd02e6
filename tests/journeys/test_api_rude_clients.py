"""Clients that are slow, half-hearted, or gone: nothing is left behind, and what was committed stays."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from doorbuster.apps.http_app import build_app
from doorbuster.apps.shop import Shop, open_shop
from doorbuster.contexts.catalog.model import ProductDraft, SkuDraft
from doorbuster.contracts.catalog import Bilingual
from doorbuster.contracts.flash_sale import SaleProposal
from doorbuster.contracts.inventory import SkuUnits
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.server import bind, server_for
from doorbuster.platform.settings.tree import Settings
from journeys.api_shop import EVENTUALLY_S_MAX, Snapshot, sqlite_rows

ARRIVAL_S = 0.4
HOUR_S = 3600

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Served:
    """A real server on a real port, in this process: so that its tasks and connections can be counted."""

    shop: Shop
    server: uvicorn.Server
    port: int
    token: str
    sale_id: int
    client: httpx.AsyncClient

    @property
    def folder(self) -> Path:
        return self.shop.settings.folder

    @property
    def commits(self) -> Any:
        return self.shop.flash_sale.service._commits

    @property
    def accounts_commits(self) -> Any:
        database: Any = self.shop.accounts.context.database
        return database._commits

    @property
    def claims(self) -> str:
        return f"/v1/sales/{self.sale_id}/claims"

    def head(self, method: str, path: str, *fields: str, key: str = "rude") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "host: shop", "content-type: application/json"]
        lines += [f"authorization: Bearer {self.token}", f"idempotency-key: {key}", *fields]
        return "\r\n".join([*lines, "", ""]).encode()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def post(self, path: str, body: object, key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        return await self.client.post(path, json=body, headers=headers)

    async def at_rest(self) -> None:
        """No request is being worked on."""
        await eventually(lambda: not self.server.server_state.tasks, "a task is left behind")

    def rows(self) -> Snapshot:
        return sqlite_rows(self.folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async def ready() -> Sequence[str]:
        return ()

    settings = Settings(data=str(tmp_path_factory.mktemp("rude")))
    async with open_shop(settings) as shop:
        server = server_for(build_app(shop, ready), arrival_s=ARRIVAL_S)
        listener = bind("127.0.0.1", 0)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started, "the server does not start")
        port = listener.getsockname()[1]
        (buyer,) = await shop.accounts.service.create_buyers(1, HOUR_S)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False) as client:
            yield Served(shop, server, port, buyer.token, await a_sale(shop), client)
        server.should_exit = True
        await serving
        listener.close()


async def a_sale(shop: Shop) -> int:
    admin = Principal(1, "admin")
    price = Money(990, "CNY")
    draft = ProductDraft(Bilingual("Tray"), "tea", (SkuDraft("T", price),), status="active")
    product = await shop.catalog.service.create(admin, "p", draft)
    await shop.inventory.service.receive(admin, "r", [SkuUnits(product.skus[0].id, 100)])
    proposal = SaleProposal(product.skus[0].id, 100, price, 100, 0, 2**42, 900_000)
    return (await shop.flash_sale.service.create_sale(admin, "s", proposal)).terms.sale_id


async def eventually(true: Callable[[], object], otherwise: str) -> None:
    deadline_s = time.monotonic() + EVENTUALLY_S_MAX
    while not true():
        assert time.monotonic() < deadline_s, otherwise
        await asyncio.sleep(0.005)


def reset(writer: asyncio.StreamWriter) -> None:
    """Goes away without a goodbye: the server sees a connection reset."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


HALVES = {
    "half of the declared body": ("content-length: 40", b'{"quantity": 1}'),
    "a chunk and no end": ("transfer-encoding: chunked", b'f\r\n{"quantity": 1}\r\n'),
    "half a chunk": ("transfer-encoding: chunked", b'20\r\n{"quantity'),
    "no body at all": ("content-length: 15", b""),
}


@pytest.mark.parametrize("farewell", ["close", "reset"])
@pytest.mark.parametrize("half", HALVES)
async def test_half_a_body_leaves_nothing_behind(served: Served, half: str, farewell: str):
    field, body = HALVES[half]
    before = served.rows()
    routes = (served.claims, "/v1/me/addresses", "/v1/sessions", "/v1/payments/webhooks/simulator")
    for path in routes:
        _reader, writer = await served.connect()
        writer.write(served.head("POST", path, field) + body)
        await writer.drain()
        await eventually(lambda: served.server.server_state.tasks, "the request never arrives")
        if farewell == "reset":
            reset(writer)
        else:
            writer.close()
        await served.at_rest()
    assert served.rows() == before


@asynccontextmanager
async def write_lock(file: Path) -> AsyncIterator[None]:
    """Nobody commits to this file meanwhile."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_who_leaves_while_the_claim_is_committed_has_it(served: Served):
    async with write_lock(served.folder / "flash_sale.sqlite"):
        await commit_and_leave(served, "left")
        await served.at_rest()  # its request is over
        assert claims_of(served, "left") == []
    await eventually(lambda: not served.commits.committing, "it is never committed")

    rows = claims_of(served, "left")
    assert len(rows) == 1
    again = await served.post(served.claims, {"quantity": 2}, "left")
    assert (again.status_code, again.json()["order_id"]) == (201, str(rows[0][0]))
    assert claims_of(served, "left") == rows
    other = await served.post(served.claims, {"quantity": 1}, "left")
    assert other.json()["slug"] == "idempotency-key-reused"


@pytest.mark.parametrize("farewell", ["close", "reset"])
async def test_who_leaves_before_the_commit_has_nothing(served: Served, farewell: str):
    gone, after = f"gone-{farewell}", f"after-{farewell}"
    async with write_lock(served.folder / "flash_sale.sqlite"):
        await commit_and_leave(served, f"before-{farewell}")
        _reader, writer = await served.connect()
        writer.write(served.head("POST", served.claims, "content-length: 14", key=gone) + b'{"quantity":2}')
        await eventually(lambda: served.commits.waiting, "the claim never waits")
        if farewell == "reset":
            reset(writer)
        else:
            writer.close()
        await served.at_rest()
    answer = await served.post(served.claims, {"quantity": 1}, after)
    assert answer.status_code == 201  # it was behind the other, so that one is decided
    assert claims_of(served, gone) == []
    assert len(claims_of(served, f"before-{farewell}")) == 1


async def commit_and_leave(served: Served, key: str) -> None:
    """Returns when the claim is being committed, and nobody waits for it any more."""
    await served.at_rest()
    _reader, writer = await served.connect()
    writer.write(served.head("POST", served.claims, "content-length: 14", key=key) + b'{"quantity":2}')
    await eventually(lambda: served.commits.committing, "the claim never arrives")
    reset(writer)
    await served.at_rest()


async def test_who_leaves_while_an_address_is_committed_has_it(served: Served):
    body = b'{"recipient":"A","phone":"+86 10 1234","country":"CN","city":"B","street":"C"}'
    async with write_lock(served.folder / "accounts.sqlite"):
        await send_and_leave(served, "/v1/me/addresses", body, "left")
    await served.at_rest()

    headers = {"Authorization": f"Bearer {served.token}"}
    kept = (await served.client.get("/v1/me/addresses", headers=headers)).json()["items"]
    assert [item["recipient"] for item in kept] == ["A"]
    headers |= {"Idempotency-Key": "left", "Content-Type": "application/json"}
    again = await served.client.post("/v1/me/addresses", content=body, headers=headers)
    assert (again.status_code, again.json()) == (201, kept[0])


async def send_and_leave(served: Served, path: str, body: bytes, key: str) -> None:
    """Returns when the server knows that its client is gone, and still works on the request.

    Who leaves before the body is read has asked for nothing, so the client waits until it is being written."""
    await served.at_rest()  # or a task of an earlier request might be taken for this one's
    _reader, writer = await served.connect()
    writer.write(served.head("POST", path, f"content-length: {len(body)}", key=key) + body)
    await writer.drain()
    await eventually(lambda: served.accounts_commits.committing, "the request never arrives")
    peer = writer.get_extra_info("sockname")
    reset(writer)
    connections: set[Any] = served.server.server_state.connections
    await eventually(lambda: all(each.client != peer[:2] for each in connections), "the server does not notice")
    assert len(served.server.server_state.tasks) == 1


def claims_of(served: Served, key: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{served.folder}/flash_sale.sqlite?mode=ro", uri=True)
    try:
        return connection.execute("SELECT order_id, quantity FROM claims WHERE key = ?", (key,)).fetchall()
    finally:
        connection.close()


async def test_a_body_that_does_not_arrive_in_time_is_given_up(served: Served):
    before = served.rows()
    for path in (served.claims, "/v1/me/addresses"):
        reader, writer = await served.connect()
        writer.write(served.head("POST", path, "content-length: 15") + b'{"quantity"')
        head, body = split(await reader.read())
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in head
        assert b'"slug":"request-too-slow"' in body
        writer.close()
    await served.at_rest()
    assert served.rows() == before


async def test_dripping_a_head_byte_by_byte_does_not_win_time(served: Served):
    reader, writer = await served.connect()
    began_s = time.monotonic()
    answer = asyncio.create_task(reader.read())
    for byte in served.head("GET", "/healthz", *(f"x-{number}: y" for number in range(500))):
        if answer.done():
            break
        writer.write(bytes([byte]))
        await asyncio.wait({answer}, timeout=ARRIVAL_S / 20)
    with contextlib.suppress(ConnectionResetError):  # a byte crossed the answer, and the system threw it away
        assert (await answer).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began_s < ARRIVAL_S * 10
    writer.close()


async def test_a_connection_that_says_nothing_is_closed_but_one_that_is_kept_alive_is_not(served: Served):
    kept_reader, kept_writer = await served.connect()
    ask = b"GET /healthz HTTP/1.1\r\nhost: shop\r\n\r\n"
    kept_writer.write(ask)
    assert (await kept_reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")

    silent_reader, silent_writer = await served.connect()
    assert await silent_reader.read() == b""
    silent_writer.close()

    kept_writer.write(b"\r\n" + ask)
    assert (await kept_reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    kept_writer.close()


async def test_who_does_not_read_the_answers_is_cut_off(served: Served):
    _reader, writer = await served.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(served.head("GET", "/openapi.json") * 200)
    connections: set[Any] = served.server.server_state.connections
    await eventually(lambda: any(each.flow.write_paused for each in connections), "the answers fit into buffers")
    await served.at_rest()
    await eventually(lambda: not any(each.flow.write_paused for each in connections), "it is still there")
    writer.close()


async def test_a_client_that_asks_whether_to_go_on_is_told_to(served: Served):
    reader, writer = await served.connect()
    writer.write(served.head("POST", served.claims, "content-length: 14", "expect: 100-continue", key="continue"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"quantity":1}')
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
    writer.close()
    await served.at_rest()


async def test_who_says_that_it_has_sent_everything_still_gets_its_answer(served: Served):
    reader, writer = await served.connect()
    writer.write(served.head("POST", served.claims, "content-length: 14", key="half-closed") + b'{"quantity":1}')
    writer.write_eof()
    head, body = split(await reader.read())
    assert head.startswith(b"HTTP/1.1 201 ")
    again = await served.post(served.claims, {"quantity": 1}, "half-closed")
    assert again.content == body
    writer.close()


def split(answer: bytes) -> tuple[bytes, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body
