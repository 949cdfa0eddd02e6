"""Accounts over HTTP, as the front door will serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from contexts.accounts.accounts_shop import AWAY, EMAIL, HOME, PARCEL, PASSWORD, Shop
from doorbuster.contexts.accounts.model import GUESSES_FROM_ONE_PLACE
from doorbuster.contexts.accounts.tables import accounts, addresses, families
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.problems import problem_of

REGISTRATION = {"email": EMAIL, "password": PASSWORD, "name": "Ann"}
LOG_IN = {"email": EMAIL, "password": PASSWORD}


def problem(_request: Request[Any, Any, Any], error: ShopError) -> Response[bytes]:
    status, headers, body = problem_of(error, "test")
    return Response(body, status_code=status, headers={k.decode(): v.decode() for k, v in headers})


class Door:
    """Sets the principal, as the edge does."""

    def __init__(self, app: Any, shop: Shop) -> None:
        self._app = app
        self._ring = shop.ring

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        bearer = dict(scope["headers"]).get(b"authorization", b"").removeprefix(b"Bearer ")
        if bearer:
            scope["principal"] = self._ring.verify(bearer)
        await self._app(scope, receive, send)


def routes_of(shop: Shop) -> list[Any]:
    return list(shop.built.context.faces().routes)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar(routes_of(shop), exception_handlers={ShopError: problem}, openapi_config=None)
    transport = httpx.ASGITransport(Door(app, shop), client=(HOME, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield client


async def register(client: httpx.AsyncClient, key: str = "key", **changes: object) -> httpx.Response:
    return await client.post("/v1/accounts", json=REGISTRATION | changes, headers={"Idempotency-Key": key})


async def logged_in(client: httpx.AsyncClient) -> dict[str, str]:
    """The headers of somebody who has registered and logged in."""
    await register(client)
    session = (await client.post("/v1/sessions", json=LOG_IN)).json()
    return {"Authorization": f"Bearer {session['access_token']}"}


async def test_registering_answers_with_the_account_and_nothing_else(client: httpx.AsyncClient, shop: Shop):
    answer = await register(client, email="Ann@Example.org")
    [row] = await shop.rows(accounts)
    assert answer.status_code == 201
    assert answer.json() == {
        "id": str(row.id),
        "email": EMAIL,
        "name": "Ann",
        "role": "customer",
        "created_at": "2026-09-21T14:13:20.000Z",
    }
    again = await register(client, email="Ann@Example.org")
    assert (again.status_code, again.json()) == (201, answer.json())


@pytest.mark.parametrize(
    "extra",
    [{"role": "admin"}, {"id": "1"}, {"password_hash": "x"}, {"created_at": "2026-01-01T00:00:00Z"}, {"email_": ""}],
)
async def test_nobody_registers_as_more_than_a_customer(client: httpx.AsyncClient, shop: Shop, extra: dict[str, str]):
    assert (await register(client, **extra)).status_code == 400
    assert not await shop.rows(accounts)


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "ann"},
        {"email": None},
        {"email": ["ann@example.org"]},
        {"email": "a" * 10_000 + "@example.org"},
        {"email": "ann@example.org\n"},
        {"email": "änn@example.org"},
        {"password": "short"},
        {"password": "x" * 129},
        {"password": 12345678901234},
        {"password": "password123"},
        {"name": ""},
        {"name": " "},
        {"name": "\u0000"},
        {"name": "\u202etxt"},
        {"name": "x" * 101},
        {"name": {}},
    ],
)
async def test_what_does_not_fit_is_refused_before_it_reaches_a_row(
    client: httpx.AsyncClient, shop: Shop, wrong: dict[str, object]
):
    answer = await register(client, **wrong)
    assert answer.status_code == 400
    assert "hash" not in answer.text
    assert not await shop.rows(accounts)


async def test_registering_needs_an_idempotency_key(client: httpx.AsyncClient, shop: Shop):
    answer = await client.post("/v1/accounts", json=REGISTRATION)
    assert (answer.status_code, answer.json()["slug"]) == (400, "idempotency-key-missing")
    assert not await shop.rows(accounts)


async def test_a_taken_address_and_a_reused_key_have_their_own_slugs(client: httpx.AsyncClient):
    await register(client)
    taken = await register(client, key="another")
    reused = await register(client, password="another password")
    assert (taken.status_code, taken.json()["slug"]) == (409, "email-taken")
    assert (reused.status_code, reused.json()["slug"]) == (422, "idempotency-key-reused")


async def test_a_session_from_log_in_to_log_out(client: httpx.AsyncClient, shop: Shop):
    registered = (await register(client)).json()
    session = await client.post("/v1/sessions", json=LOG_IN)
    assert session.status_code == 201
    assert set(session.json()) == {"access_token", "refresh_token", "token_type", "expires_in_s"}
    assert (session.json()["token_type"], session.json()["expires_in_s"]) == ("Bearer", 900)
    refreshed = await client.post("/v1/sessions/refresh", json={"refresh_token": session.json()["refresh_token"]})
    assert (refreshed.status_code, set(refreshed.json())) == (200, set(session.json()))
    for tokens in (session.json(), refreshed.json()):
        me = await client.get("/v1/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
        assert (me.status_code, me.json()) == (200, registered)
    last = {"refresh_token": refreshed.json()["refresh_token"]}
    out = await client.post("/v1/sessions/logout", json=last)
    assert (out.status_code, out.content) == (204, b"")
    dead = await client.post("/v1/sessions/refresh", json=last)
    assert (dead.status_code, dead.json()["slug"]) == (401, "invalid-refresh-token")
    [family] = await shop.rows(families)
    assert family.revoked_because == "log-out"


@pytest.mark.parametrize("token", ["", "x" * 42, "x" * 44, "x" * 10_000, "é" * 43, "x" * 42 + "\n", None, 1])
async def test_what_cannot_be_a_refresh_token_is_refused(client: httpx.AsyncClient, token: object):
    for path in ("refresh", "logout"):
        answer = await client.post(f"/v1/sessions/{path}", json={"refresh_token": token})
        assert answer.status_code == 400


async def test_wrong_credentials_look_the_same_with_and_without_an_account(client: httpx.AsyncClient):
    await register(client)
    wrong = await client.post("/v1/sessions", json=LOG_IN | {"password": "not the password"})
    nobody = await client.post("/v1/sessions", json=LOG_IN | {"email": "nobody@example.org"})
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.json() == nobody.json()
    assert wrong.json()["slug"] == "wrong-credentials"


async def test_too_many_failed_log_ins_say_when_to_come_back_and_count_by_client_address(
    client: httpx.AsyncClient, shop: Shop
):
    await register(client)
    for _ in range(GUESSES_FROM_ONE_PLACE):
        await client.post("/v1/sessions", json=LOG_IN | {"password": "not the password"})
    paused = await client.post("/v1/sessions", json=LOG_IN)
    assert paused.json()["slug"] == "too-many-failed-log-ins"
    assert (paused.status_code, paused.headers["retry-after"]) == (429, "900")
    await shop.sessions.log_in(EMAIL, PASSWORD, AWAY)


async def test_addresses_are_added_listed_and_deleted(client: httpx.AsyncClient, shop: Shop):
    ann = await logged_in(client)
    body = msgspec.to_builtins(PARCEL)
    added = await client.post("/v1/me/addresses", json=body, headers=ann | {"Idempotency-Key": "a"})
    assert added.status_code == 201
    assert body.items() <= added.json().items()
    again = await client.post("/v1/me/addresses", json=body, headers=ann | {"Idempotency-Key": "a"})
    assert again.json() == added.json()
    listed = await client.get("/v1/me/addresses", headers=ann)
    assert listed.json() == {"items": [added.json()]}
    gone = await client.delete(f"/v1/me/addresses/{added.json()['id']}", headers=ann)
    assert (gone.status_code, gone.content) == (204, b"")
    assert not await shop.rows(addresses)


async def test_somebody_elses_or_no_address_is_not_found(client: httpx.AsyncClient, shop: Shop):
    ann = await logged_in(client)
    bob = await shop.register("bob@example.org")
    other = await shop.service.add_address(Principal(bob.id, "customer"), PARCEL, "b")
    for address_id, status in ((other.id, 404), (0, 404), (2**63, 400), ("abc", 400), ("-1", 400), ("1 OR 1", 400)):
        answer = await client.delete(f"/v1/me/addresses/{address_id}", headers=ann)
        assert answer.status_code == status, address_id
    assert (await client.delete("/v1/me/addresses/", headers=ann)).status_code in (404, 405)
    assert [row.id for row in await shop.rows(addresses)] == [other.id]


@pytest.mark.parametrize(
    "wrong",
    [
        {"account_id": "1"},
        {"id": "1"},
        {"phone": "abc"},
        {"country": "China"},
        {"street": "x" * 201},
        {"city": ""},
        {"region": "\u0007"},
        {"postcode": "1" * 21},
    ],
)
async def test_an_impossible_address_is_refused(client: httpx.AsyncClient, shop: Shop, wrong: dict[str, str]):
    ann = await logged_in(client)
    body = msgspec.to_builtins(PARCEL) | wrong
    answer = await client.post("/v1/me/addresses", json=body, headers=ann | {"Idempotency-Key": "a"})
    assert answer.status_code == 400
    assert not await shop.rows(addresses)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/me"),
        ("GET", "/v1/me/addresses"),
        ("POST", "/v1/me/addresses"),
        ("DELETE", "/v1/me/addresses/1"),
    ],
)
async def test_private_routes_need_somebody(client: httpx.AsyncClient, method: str, path: str):
    answer = await client.request(method, path, headers={"Idempotency-Key": "a"})
    assert (answer.status_code, answer.json()["slug"]) == (401, "unauthenticated")


async def test_no_answer_may_be_cached(client: httpx.AsyncClient):
    ann = await logged_in(client)
    session = (await client.post("/v1/sessions", json=LOG_IN)).json()
    token = {"refresh_token": session["refresh_token"]}
    body = msgspec.to_builtins(PARCEL)
    added = await client.post("/v1/me/addresses", json=body, headers=ann | {"Idempotency-Key": "a"})
    answers = [
        added,
        await register(client),
        await register(client, key="taken"),
        await client.post("/v1/sessions", json=LOG_IN),
        await client.post("/v1/sessions/refresh", json=token),
        await client.post("/v1/sessions/logout", json=token),
        await client.get("/v1/me", headers=ann),
        await client.get("/v1/me/addresses", headers=ann),
        await client.delete(f"/v1/me/addresses/{added.json()['id']}", headers=ann),
        await client.get("/v1/me"),
    ]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_every_route_declares_who_may_use_it(shop: Shop):
    handlers = routes_of(shop)
    assert all(isinstance(handler, HTTPRouteHandler) and handler.guards for handler in handlers)
    assert {(method, path) for handler in handlers for method in handler.http_methods for path in handler.paths} == {
        ("POST", "/v1/accounts"),
        ("POST", "/v1/sessions"),
        ("POST", "/v1/sessions/refresh"),
        ("POST", "/v1/sessions/logout"),
        ("GET", "/v1/me"),
        ("GET", "/v1/me/addresses"),
        ("POST", "/v1/me/addresses"),
        ("DELETE", "/v1/me/addresses/{address_id:str}"),
    }
