"""What the front door makes of failures that nobody expected, and of answers that do not come in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from litestar import get, post
from structlog.testing import capture_logs

from doorbuster.edge.api import build_api
from doorbuster.edge.door import Door
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.errors import ShopError
from doorbuster.platform.http.faces import AnyRequest, public
from doorbuster.platform.http.raw import RawRoute, Scope
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from journeys.api_shop import problem

SECRET = "postgresql://shop:hunter2@db/shop"  # what an exception may hold
TIMEOUT_S = 0.05


class OutOfOrder(ShopError):
    """An error that nobody gave a kind."""

    slug = "out-of-order"


@get("/breaks", guards=[public])
async def breaks() -> None:
    raise RuntimeError(SECRET)


@get("/breaks-in-words-of-http", guards=[public])
async def gives_up() -> None:
    raise TimeoutError(SECRET)


@get("/kindless", guards=[public])
async def kindless() -> None:
    raise OutOfOrder


@get("/hangs", guards=[public])
async def hangs() -> None:
    await asyncio.Event().wait()


@post("/hangs", guards=[public])
async def hangs_writing() -> None:
    await asyncio.Event().wait()


@post("/reads", guards=[public])
async def reads(request: AnyRequest) -> None:
    await request.body()


@get("/not-encodable", guards=[public])
async def not_encodable() -> dict[str, Any]:
    return {"what": object()}


async def answer_badly(_scope: Scope, _parameter: str, _body: bytes) -> tuple[int, bytes]:
    raise RuntimeError(SECRET)


RAW = RawRoute("POST", "/raw/", "/breaks", "id", answer_badly, {"responses": {}}, {})


@pytest.fixture(scope="module")
def door() -> Door:
    async def ready() -> Sequence[str]:
        return ["catalog"]

    routes = [breaks, gives_up, kindless, hangs, hangs_writing, reads, not_encodable]
    ring = KeyRing([Key.generate()], SystemClock())
    return Door(build_api(routes, [RAW], ready), [RAW], ring, body_bytes_max=1024, timeout_s=TIMEOUT_S)


async def ask(door: Door, method: str, path: str, content: Any = None) -> httpx.Response:
    transport = httpx.ASGITransport(door)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop", verify=False) as client:
        return await client.request(method, path, content=content, headers={"X-Request-Id": "r-1"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/breaks"),
        ("GET", "/breaks-in-words-of-http"),
        ("GET", "/not-encodable"),
        ("POST", "/raw/1/breaks"),
    ],
)
async def test_a_bug_is_logged_with_its_trace_and_answered_without(door: Door, method: str, path: str):
    with capture_logs() as logged:
        response = await ask(door, method, path, b"{}" if method == "POST" else None)
    assert problem(response) == (500, "internal-error")
    assert "hunter2" not in response.text
    assert [(line["event"], line["request_id"], line["path"]) for line in logged] == [("request failed", "r-1", path)]
    assert logged[0]["exc_info"]


async def test_an_error_without_a_kind_is_a_failure_of_ours(door: Door):
    assert problem(await ask(door, "GET", "/kindless")) == (500, "out-of-order")


async def test_reading_that_takes_too_long_may_be_repeated(door: Door):
    response = await ask(door, "GET", "/hangs")
    assert problem(response) == (503, "unavailable")
    assert response.headers["retry-after"] == "1"


async def test_writing_that_takes_too_long_may_have_happened(door: Door):
    response = await ask(door, "POST", "/hangs")
    assert problem(response) == (503, "outcome-unknown")
    assert response.headers["retry-after"] == "1"


async def test_a_body_that_takes_too_long_is_the_senders_fault(door: Door):
    async def slow() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    assert problem(await ask(door, "POST", "/reads", slow())) == (408, "request-too-slow")


async def test_what_is_not_ready_is_named(door: Door):
    response = await ask(door, "GET", "/readyz")
    assert problem(response) == (503, "unavailable")
    assert json.loads(response.content)["detail"] == "not ready: catalog"
