"""The catalogue over HTTP: shapes, statuses, policies; refusals leave the rows alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar, Request, Response

from contexts.catalog.goods import ADMIN, MERCHANT, ONLOOKERS, RIVAL, everything
from doorbuster.contexts.catalog.http import ProductChangeBody
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.problems import problem_of

NOBODY = "nobody"
PEOPLE = {f"{person.role}-{person.account_id}": person for person in (MERCHANT, RIVAL, ADMIN, *ONLOOKERS)}
BODY: dict[str, Any] = {
    "title": {"en": "Tea Tray", "zh": "茶盘"},
    "category": "tea",
    "status": "active",
    "skus": [{"code": "T-1", "price": {"amount": 1990, "currency": "CNY"}}],
}


def refusal(_request: Request, error: ShopError) -> Response:
    status, headers, body = problem_of(error, "r1")
    return Response(body, status_code=status, headers={name.decode(): value.decode() for name, value in headers})


class Door:
    """Stands for the edge: the header says who asks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            named = dict(scope["headers"]).get(b"person", b"").decode()
            scope["principal"] = PEOPLE.get(named)
        await self.app(scope, receive, send)


@pytest.fixture
async def client(catalog) -> AsyncIterator[httpx.AsyncClient]:
    # Litestar's own client runs the application on another loop, where the database's connections cannot follow.
    routes = list(catalog.context.faces().routes)
    app = Litestar(routes, exception_handlers={ShopError: refusal}, openapi_config=None)
    transport = httpx.ASGITransport(Door(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        yield client


def as_(person: Principal, key: str | None = None) -> dict[str, str]:
    return {"person": f"{person.role}-{person.account_id}"} | ({"idempotency-key": key} if key else {})


async def made(client, person: Principal = MERCHANT, key: str = "k1", **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/products", json=BODY | more, headers=as_(person, key))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_product_is_created_and_read(client, clock):
    product = await made(client)
    assert product == {
        "id": product["id"],
        "merchant_id": str(MERCHANT.account_id),
        "title": {"en": "Tea Tray", "zh": "茶盘"},
        "description": {"en": None, "zh": None},
        "category": "tea",
        "brand": "",
        "media": [],
        "status": "active",
        "version": 1,
        "skus": [
            {
                "id": product["skus"][0]["id"],
                "code": "T-1",
                "name": "",
                "price": {"amount": 1990, "currency": "CNY"},
                "active": True,
            }
        ],
        "created_at": "2026-09-21T14:13:20.000Z",
        "updated_at": "2026-09-21T14:13:20.000Z",
    }
    assert product["id"].isdigit()
    answer = await client.get(f"/v1/products/{product['id']}")
    assert (answer.status_code, answer.json()) == (200, product)
    assert await made(client) == product


async def test_a_product_is_changed(client):
    product = await made(client)
    change = {"version": 1, "brand": "Owlbrook 枭溪", "skus": [{"code": "T-1", "active": False}]}
    answer = await client.patch(f"/v1/products/{product['id']}", json=change, headers=as_(MERCHANT))
    assert answer.status_code == 200
    after = answer.json()
    assert (after["version"], after["brand"], after["skus"][0]["active"]) == (2, "Owlbrook 枭溪", False)
    stale = await client.patch(f"/v1/products/{product['id']}", json=change, headers=as_(MERCHANT))
    assert (stale.status_code, stale.json()["slug"]) == (409, "product-changed")
    assert stale.json()["version"] == "2"


async def test_the_list_goes_on_from_its_cursor(client):
    for n in range(5):
        skus = [{"code": f"T-{n}", "price": {"amount": n, "currency": "CNY"}}]
        await made(client, key=f"k{n}", skus=skus, category="tea" if n % 2 else "pots")
    await made(client, key="d", status="draft", skus=[{"code": "D", "price": {"amount": 1, "currency": "CNY"}}])
    first = (await client.get("/v1/products", params={"limit": 3})).json()
    rest = (await client.get("/v1/products", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [item["skus"][0]["code"] for item in first["items"] + rest["items"]] == [f"T-{n}" for n in range(5)]
    assert rest["next_cursor"] is None
    pots = (await client.get("/v1/products", params={"category": "pots"})).json()
    assert [item["skus"][0]["code"] for item in pots["items"]] == ["T-0", "T-2", "T-4"]
    assert (await client.get("/v1/categories")).json() == {"items": [{"slug": "pots"}, {"slug": "tea"}]}


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/v1/products?limit=0", 400, "bad-limit"),
        ("/v1/products?limit=101", 400, "bad-limit"),
        ("/v1/products?limit=-1", 400, "bad-limit"),
        ("/v1/products?cursor=nonsense", 400, "bad-cursor"),
        ("/v1/products?cursor=", 400, "bad-cursor"),
        ("/v1/products/1' OR '1'='1", 400, "invalid-id"),
        ("/v1/products/99999999999999999999", 400, "invalid-id"),
        ("/v1/products/5", 404, "product-not-found"),
    ],
)
async def test_what_cannot_be_read_is_a_problem(client, path, status, slug):
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["slug"]) == (status, slug)
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_a_category_that_is_no_slug_is_not_sql(client):
    await made(client)
    for category in ("' OR 1=1 --", "tea'", "%", ""):
        answer = await client.get("/v1/products", params={"category": category})
        assert (answer.status_code, answer.json()["items"]) == (200, [])


@pytest.mark.parametrize("person", [NOBODY, *(person.role for person in ONLOOKERS)])
async def test_who_sells_nothing_changes_nothing(client, database, person):
    product = await made(client)
    before = await everything(database)
    headers = {"idempotency-key": "k2"}
    status = 401
    if person != NOBODY:
        headers |= as_(next(one for one in ONLOOKERS if one.role == person))
        status = 403
    change = {"version": 1, "brand": "Mine"}
    answers = [
        await client.post("/v1/products", json=BODY, headers=headers),
        await client.patch(f"/v1/products/{product['id']}", json=change, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [status, status]
    assert await everything(database) == before


async def test_a_rival_is_refused_and_an_admin_is_not(client, database):
    hidden = await made(client, status="draft")
    shown = await made(client, key="k2", skus=[{"code": "T-2", "price": {"amount": 1, "currency": "CNY"}}])
    before = await everything(database)
    change = {"version": 1, "brand": "Mine"}
    for product, status, slug in ((hidden, 404, "product-not-found"), (shown, 403, "not-your-product")):
        answer = await client.patch(f"/v1/products/{product['id']}", json=change, headers=as_(RIVAL))
        assert (answer.status_code, answer.json()["slug"]) == (status, slug)
    assert (await client.get(f"/v1/products/{hidden['id']}", headers=as_(RIVAL))).status_code == 404
    assert (await client.get(f"/v1/products/{hidden['id']}")).status_code == 404
    assert await everything(database) == before
    assert (await client.get(f"/v1/products/{hidden['id']}", headers=as_(MERCHANT))).status_code == 200
    answer = await client.patch(f"/v1/products/{hidden['id']}", json=change, headers=as_(ADMIN))
    assert (answer.status_code, answer.json()["merchant_id"]) == (200, str(MERCHANT.account_id))


async def test_creating_needs_a_key(client, database):
    for key, slug in ((None, "idempotency-key-missing"), ("a b", "idempotency-key-invalid")):
        answer = await client.post("/v1/products", json=BODY, headers=as_(MERCHANT, key))
        assert (answer.status_code, answer.json()["slug"]) == (400, slug)
    await made(client)
    answer = await client.post("/v1/products", json=BODY | {"brand": "Other"}, headers=as_(MERCHANT, "k1"))
    assert (answer.status_code, answer.json()["slug"]) == (422, "idempotency-key-reused")
    assert len((await everything(database))[0]) == 1


SKU = BODY["skus"][0]


@pytest.mark.parametrize(
    "more",
    [
        {"merchant_id": "1002"},
        {"id": "5"},
        {"version": 9},
        {"title": {"en": "x" * 201}},
        {"title": {"fr": "Plateau"}},
        {"title": {}},
        {"category": "No Slug"},
        {"category": "tea\n"},
        {"skus": []},
        {"skus": [SKU] * 51},
        {"skus": [SKU, SKU]},
        {"skus": [SKU | {"price": {"amount": -1, "currency": "CNY"}}]},
        {"skus": [SKU | {"price": {"amount": 10**14, "currency": "CNY"}}]},
        {"skus": [SKU | {"price": {"amount": 1.5, "currency": "CNY"}}]},
        {"skus": [SKU | {"price": {"amount": 1, "currency": "yuan"}}]},
        {"skus": [SKU | {"code": ""}]},
        {"skus": [SKU | {"id": "5"}]},
        {"media": ["https://a.example/"] * 21},
        {"media": ["javascript:alert(1)"]},
        {"status": "sold"},
        {"brand": "\u0000"},
        {"description": {"zh": "\u202e"}},
    ],
    ids=lambda more: str(more)[:60],
)
async def test_a_body_that_does_not_fit_is_refused(client, database, more):
    answer = await client.post("/v1/products", json=BODY | more, headers=as_(MERCHANT, "k1"))
    assert answer.status_code == 400, answer.text
    assert await everything(database) == ([], [], [])


@pytest.mark.parametrize("change", [{}, {"version": 0}, {"version": 1, "merchant_id": "7"}])
async def test_a_change_that_does_not_fit_is_refused(client, database, change):
    product = await made(client)
    before = await everything(database)
    answer = await client.patch(f"/v1/products/{product['id']}", json=change, headers=as_(MERCHANT))
    assert answer.status_code == 400
    assert await everything(database) == before


def test_null_and_absent_mean_the_same_in_a_change():
    given = msgspec.json.decode(b'{"version": 1, "title": null, "skus": []}', type=ProductChangeBody)
    assert given.change() == ProductChangeBody(1).change()


async def test_every_route_declares_its_policy_and_is_described(catalog):
    routes = catalog.context.faces().routes
    assert all(len(route.guards) == 1 and route.summary and route.tags for route in routes)
    document = Litestar(list(routes)).openapi_schema.to_schema()
    assert set(document["paths"]) == {"/v1/products", "/v1/products/{product_id}", "/v1/categories"}
    body = document["components"]["schemas"]["ProductBody"]
    assert body["properties"]["skus"]["maxItems"] == 50
    assert set(body["required"]) == {"title", "category", "skus"}
