"""The API's own documents: complete, valid, readable without the internet, and true of every problem."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

import doorbuster
from doorbuster.edge.problem_catalogue import as_markdown, catalogue
from doorbuster.kernel.errors import ShopError
from doorbuster.platform.http.problems import status_of
from journeys.api_shop import ApiShop, Route, api_shop, problem, routes_of_the_app
from journeys.rules import RULES

PROBLEMS_PAGE = Path(__file__).parents[2] / "docs" / "problems.md"
METHODS = ("get", "post", "put", "patch", "delete")
VOID = {"meta", "br", "hr", "img", "input", "link"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with api_shop(tmp_path_factory.mktemp("documents")) as shop:
        yield shop


@pytest.fixture(scope="module")
def document(shop: ApiShop) -> Any:
    return shop.get("/openapi.json")


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    return routes_of_the_app(tmp_path_factory.mktemp("routes"))


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


# --- the OpenAPI document ---------------------------------------------------------------------------------------


def test_the_document_is_valid_openapi(document: Any):
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    for name, schema in document["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({**schema, "components": document["components"]}), name


def test_a_schema_has_a_name_of_its_own(document: Any):
    """Two that share one are qualified by where they stand in the code, and clients by that."""
    assert [name for name in document["components"]["schemas"] if not re.fullmatch(r"[A-Z][A-Za-z]+", name)] == []


def test_every_reference_leads_somewhere(document: Any):
    schemas = document["components"]["schemas"]

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/components/schemas/") in schemas
            for inner in node.values():
                check(inner)
        elif isinstance(node, list):
            for inner in node:
                check(inner)

    check(document)
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_every_route_is_documented_and_nothing_else(document: Any, routes: list[Route]):
    documented = {f"{method} {path}" for method, path, _ in operations(document)}
    assert documented == {str(route) for route in routes}


def test_every_route_declares_who_may_call_it_and_the_document_says_so(document: Any, routes: list[Route]):
    by_route = {f"{method} {path}": operation for method, path, operation in operations(document)}
    for route in routes:
        assert route.roles is not None, f"{route} declares no policy"
        assert bool(by_route[str(route)].get("security")) == bool(route.roles), route


def test_every_operation_tells_of_problems_and_describes_its_body_exactly(document: Any):
    schemas = document["components"]["schemas"]
    for method, path, operation in operations(document):
        assert "application/problem+json" in operation["responses"]["default"]["content"], path
        assert operation["summary"], f"{method} {path}"
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if body is not None and "/webhooks/" not in path:
            schema = schemas[body["$ref"].rpartition("/")[2]]
            assert schema["additionalProperties"] is False, f"{method} {path} takes unknown fields"


def test_who_needs_an_idempotency_key_is_documented_and_true(shop: ApiShop, document: Any):
    keyed, keyless = set[str](), set[str]()
    for method, path, operation in operations(document):
        key = next((each for each in operation.get("parameters", []) if each["name"] == "Idempotency-Key"), None)
        if key is not None and key["required"]:
            assert method == "POST", path
            rule = RULES[f"{method} {path}"]
            who = next(each for each in rule.may.split() if each != "nobody")
            body = None if rule.body is None else rule.body(shop, "1", who)
            response = shop.ask("POST", re.sub(r"{\w+}", "1", path), who, body)
            assert problem(response) == (400, "idempotency-key-missing"), path
            keyed.add(path)
        elif method == "POST" and "201" in operation["responses"] and key is None:
            keyless.add(path)
    assert len(keyed) > 15
    assert keyless == {"/v1/sessions"}


# --- problems ---------------------------------------------------------------------------------------------------


def test_every_error_of_the_code_is_in_the_catalogue():
    for module in pkgutil.walk_packages(doorbuster.__path__, "doorbuster."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)
    for error in descendants(ShopError):
        if error.__module__.startswith("doorbuster."):
            entry = catalogue().get(error.slug)
            assert entry is not None, f"{error.__qualname__} ({error.slug}) is in no module that the catalogue reads"
            assert entry.status == status_of(error), error.slug
    # An error whose kind has no status would be a failure of ours that no log tells of.
    assert [slug for slug, entry in catalogue().items() if entry.status == 500] == ["internal-error"]


def descendants(kind: type[ShopError]) -> Iterator[type[ShopError]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_the_type_of_every_problem_leads_to_a_page(shop: ApiShop):
    assert [entry["slug"] for entry in shop.get("/problems")["items"]] == list(catalogue())
    for slug, entry in catalogue().items():
        page = shop.get(f"/problems/{slug}")
        assert page == {"slug": slug, "title": entry.title, "status": entry.status, "when": entry.when}
        assert entry.title != ShopError.title, slug
        assert entry.when, f"{slug}: say in a docstring when this happens"


def test_a_browser_gets_the_page_of_a_problem_as_html(shop: ApiShop):
    refused = shop.ask("GET", "/v1/sales/1")
    assert problem(refused) == (404, "sale-not-found")
    page = shop.ask("GET", refused.json()["type"], headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "sale-not-found" in Page.read(page.text).text


def test_a_problem_that_does_not_exist_has_no_page(shop: ApiShop):
    for slug in ("nothing", "<script>", "..", "%00", "sold-out/x"):
        assert problem(shop.ask("GET", f"/problems/{slug}"))[0] == 404


def test_the_table_of_problems_in_the_documentation_is_up_to_date():
    command = "python -m doorbuster.edge.problem_catalogue > docs/problems.md"
    assert PROBLEMS_PAGE.read_text("utf-8") == as_markdown(), f"renew it: {command}"


# --- the page ---------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a reader sees, and everything that a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._open: list[str] = []

    @classmethod
    def read(cls, text: str) -> Page:
        page = cls()
        page.feed(text)
        page.close()
        assert page._open == [], "every element is closed"
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src", "action", "data", "srcset", "poster"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "elements are closed in order"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_every_operation_without_the_internet(shop: ApiShop, document: Any):
    response = shop.ask("GET", "/docs")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    page = Page.read(response.text)
    assert page.tags.isdisjoint({"script", "iframe", "img", "link", "object", "embed", "form", "base"})
    assert not any(name.startswith("on") for name in page.attributes)
    assert all(address.startswith(("#", "/")) and not address.startswith("//") for address in page.addresses)
    style = response.text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    for method, path, operation in operations(document):
        assert f"{method} {path} {operation['summary']}" in page.text, path
    for tag in {tag for _, _, operation in operations(document) for tag in operation["tags"]}:
        assert f"#{tag}" in page.addresses


def test_every_answer_carries_what_keeps_browsers_and_caches_safe(shop: ApiShop):
    for method, path, who in (
        ("GET", "/healthz", None),
        ("GET", "/v1/products", None),
        ("GET", "/v1/products", "owner"),
        ("GET", "/v1/me", "owner"),
        ("GET", "/v1/me", None),
        ("GET", "/nowhere", None),
        ("PUT", "/v1/me", "owner"),
        ("POST", "/v1/sessions/logout", None),
        ("POST", "/v1/sales/1/claims", "owner"),
        ("HEAD", "/v1/me", "owner"),
        ("OPTIONS", "/v1/me", "owner"),
    ):
        headers = shop.ask(method, path, who).headers
        assert headers.get_list("cache-control") == ["no-store"], path
        assert headers.get_list("x-content-type-options") == ["nosniff"], path
        assert len(headers.get_list("x-request-id")) == 1, path


def test_a_head_is_a_get_without_its_body(shop: ApiShop):
    for path in ("/healthz", "/v1/products", "/docs", "/v1/me"):
        head, get = shop.ask("HEAD", path), shop.ask("GET", path)
        assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
        assert head.content == b""
