"""Carts and checkouts over HTTP. What every order needs is plain ASGI: cart, delivery, checkout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from doorbuster.contexts.checkout.model import PlaceRequest
from doorbuster.contexts.checkout.service import CheckoutService
from doorbuster.contexts.checkout.views import (
    CartCouponBody,
    CartLineView,
    CartsView,
    CartView,
    CheckoutBody,
    CheckoutView,
    DeliveryBody,
    MergeBody,
    MergedView,
    NewCartBody,
    QuantityBody,
    QuoteView,
)
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Forbidden, Unauthenticated
from doorbuster.kernel.idempotency import checked_key
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.principal import Principal, Role
from doorbuster.platform.http.faces import AnyRequest, allow, idempotency_key_of, principal_of
from doorbuster.platform.http.problems import InvalidBody, MalformedJson
from doorbuster.platform.http.raw import FIELDS, RawRoute, Scope
from doorbuster.platform.http.tokens import InvalidToken, KeyRing

SHOPPERS: tuple[Role, ...] = ("guest", "customer")

T = TypeVar("T")

# --- the way of every order ---------------------------------------------------------------------------------------

_new_cart = msgspec.json.Decoder(NewCartBody)
_delivery = msgspec.json.Decoder(DeliveryBody)
_checkout = msgspec.json.Decoder(CheckoutBody)
_encode = msgspec.json.Encoder().encode


class ExactRoute(RawRoute, frozen=True):
    """A raw route without a parameter."""

    @property
    def path(self) -> str:
        return self.prefix

    def parameter_in(self, path: str) -> str | None:
        return "" if path == self.prefix else None


def raw_routes(service: CheckoutService, request_timeout_s: float) -> list[RawRoute]:
    async def create_cart(scope: Scope, _parameter: str, body: bytes) -> tuple[int, bytes]:
        principal = None if scope["principal"] is None else _shopper(scope)
        # Nobody has keys of their own, but a key that is none is refused whoever sends it.
        unkeyed = principal is None and b"idempotency-key" not in scope[FIELDS]
        key = None if unkeyed else _key(scope)
        new = _decoded(_new_cart.decode, body).new_cart()
        shown = await service.create(principal, key, new, Deadline.after(request_timeout_s))
        return 201, _encode(CartView.shown(shown))

    async def set_delivery(scope: Scope, cart_id: str, body: bytes) -> tuple[int, bytes]:
        principal, of_id = _shopper(scope), parse_id(cart_id)
        delivery = _decoded(_delivery.decode, body).delivery()
        shown = await service.set_delivery(principal, of_id, delivery, Deadline.after(request_timeout_s))
        return 200, _encode(CartView.shown(shown))

    async def place(scope: Scope, cart_id: str, body: bytes) -> tuple[int, bytes]:
        principal, of_id, key = _shopper(scope), parse_id(cart_id), _key(scope)
        asked = _decoded(_checkout.decode, body)
        request = PlaceRequest(asked.quote, asked.note)
        checkout = await service.place(principal, of_id, key, request, Deadline.after(request_timeout_s))
        return 201 if checkout.stage == "placed" else 202, _encode(CheckoutView.of(checkout))

    return [
        ExactRoute("POST", "/v1/carts", "", "", create_cart, *_cart_operation()),
        RawRoute("PUT", "/v1/carts/", "/delivery", "cart_id", set_delivery, *_delivery_operation()),
        RawRoute("POST", "/v1/carts/", "/checkout", "cart_id", place, *_checkout_operation()),
    ]


def _shopper(scope: Scope) -> Principal:
    principal: Principal | None = scope["principal"]
    if principal is None:
        raise Unauthenticated
    if principal.role not in SHOPPERS:
        raise Forbidden(f"this needs the role {' or '.join(SHOPPERS)}")
    return principal


def _key(scope: Scope) -> str:
    key = scope[FIELDS].get(b"idempotency-key")
    return checked_key(None if key is None else key.decode("latin-1"))


def _decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    """Raises InvalidBody, MalformedJson."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBody(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson from error


_CART_ID = {"name": "cart_id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"}}


def _key_parameter(*, required: bool) -> dict[str, Any]:
    schema = {"type": "string", "pattern": "^[!-~]{1,64}$"}
    return {"name": "Idempotency-Key", "in": "header", "required": required, "schema": schema}


def _described(
    body: type[Struct], view: type[Struct], answers: dict[str, str], operation: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The operation, completed, and the schemas that it names."""
    (asked, told), schemas = msgspec.json.schema_components([body, view], ref_template="#/components/schemas/{name}")
    content = {"application/json": {"schema": told}}
    operation |= {
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {status: {"description": words, "content": content} for status, words in answers.items()},
    }
    return operation, schemas


def _cart_operation() -> tuple[dict[str, Any], dict[str, Any]]:
    operation: dict[str, Any] = {
        "tags": ["checkout"],
        "operationId": "CreateCart",
        "summary": "A new cart",
        "description": "Without a token it makes a guest too, and the answer holds the guest's token. With one, an "
        f"Idempotency-Key is needed. Roles: {', '.join(SHOPPERS)}, or nobody yet.",
        "parameters": [_key_parameter(required=False)],
        "security": [{"token": []}, {}],
    }
    return _described(NewCartBody, CartView, {"201": "Created"}, operation)


def _delivery_operation() -> tuple[dict[str, Any], dict[str, Any]]:
    operation: dict[str, Any] = {
        "tags": ["checkout"],
        "operationId": "SetDelivery",
        "summary": "Destination, contact and way of shipping of a cart",
        "description": f"Answers with the cart and its quote. Roles: {', '.join(SHOPPERS)}.",
        "parameters": [_CART_ID],
        "security": [{"token": []}],
    }
    return _described(DeliveryBody, CartView, {"200": "Changed"}, operation)


def _checkout_operation() -> tuple[dict[str, Any], dict[str, Any]]:
    operation: dict[str, Any] = {
        "tags": ["checkout"],
        "operationId": "PlaceOrder",
        "summary": "Order what is in a cart, at the price quoted",
        "description": "201: placed, pay it as an order. 202: under way, a part of the shop is busy; ask again with "
        f"the same key, or follow /v1/checkouts. Roles: {', '.join(SHOPPERS)}.",
        "parameters": [_CART_ID, _key_parameter(required=True)],
        "security": [{"token": []}],
    }
    return _described(CheckoutBody, CheckoutView, {"201": "Placed", "202": "Under way"}, operation)


# --- all the rest -------------------------------------------------------------------------------------------------


def routes(service: CheckoutService, ring: KeyRing) -> list[ControllerRouterHandler]:
    return [*_cart_routes(service), *_coupon_routes(service), *_other_routes(service, ring)]


def _cart_routes(service: CheckoutService) -> list[ControllerRouterHandler]:
    shoppers = [allow(*SHOPPERS)]

    @get("/v1/me/carts", guards=shoppers, tags=["checkout"], summary="One's own open carts, newest first")
    async def list_carts(request: AnyRequest) -> CartsView:
        return CartsView([CartView.of(cart) for cart in await service.carts(principal_of(request))])

    @get("/v1/carts/{cart_id:str}", guards=shoppers, tags=["checkout"], summary="A cart and what it costs")
    async def get_cart(request: AnyRequest, cart_id: FromPath[str]) -> CartView:
        return CartView.shown(await service.cart(principal_of(request), parse_id(cart_id)))

    @put(
        "/v1/carts/{cart_id:str}/lines/{sku_id:str}",
        guards=shoppers,
        tags=["checkout"],
        summary="So many units of a SKU, whatever there were",
    )
    async def set_quantity(
        request: AnyRequest, cart_id: FromPath[str], sku_id: FromPath[str], data: JSONBody[QuantityBody]
    ) -> CartView:
        principal, ids = principal_of(request), (parse_id(cart_id), parse_id(sku_id))
        return CartView.shown(await service.set_quantity(principal, *ids, data.quantity))

    @delete(
        "/v1/carts/{cart_id:str}/lines/{sku_id:str}",
        status_code=200,
        guards=shoppers,
        tags=["checkout"],
        summary="Take a SKU out of a cart",
    )
    async def remove_line(request: AnyRequest, cart_id: FromPath[str], sku_id: FromPath[str]) -> CartView:
        return CartView.shown(await service.remove_line(principal_of(request), parse_id(cart_id), parse_id(sku_id)))

    return [list_carts, get_cart, set_quantity, remove_line]


def _coupon_routes(service: CheckoutService) -> list[ControllerRouterHandler]:
    shoppers = [allow(*SHOPPERS)]

    @put("/v1/carts/{cart_id:str}/coupon", guards=shoppers, tags=["checkout"], summary="Use a coupon")
    async def set_coupon(request: AnyRequest, cart_id: FromPath[str], data: JSONBody[CartCouponBody]) -> CartView:
        return CartView.shown(await service.set_coupon(principal_of(request), parse_id(cart_id), data.code))

    @delete(
        "/v1/carts/{cart_id:str}/coupon",
        status_code=200,
        guards=shoppers,
        tags=["checkout"],
        summary="Do without the coupon",
    )
    async def remove_coupon(request: AnyRequest, cart_id: FromPath[str]) -> CartView:
        return CartView.shown(await service.remove_coupon(principal_of(request), parse_id(cart_id)))

    return [set_coupon, remove_coupon]


def _other_routes(service: CheckoutService, ring: KeyRing) -> list[ControllerRouterHandler]:
    @post(
        "/v1/carts/merge",
        status_code=200,
        guards=[allow("customer")],
        tags=["checkout"],
        summary="After logging in: take over the carts of the guest one was",
    )
    async def merge_carts(request: AnyRequest, data: JSONBody[MergeBody]) -> MergedView:
        guest = ring.verify(data.guest_token.encode())
        if guest.role != "guest":
            raise InvalidToken("this is not the token of a guest")
        done, carts = await service.merge(principal_of(request), idempotency_key_of(request), guest)
        left_out = [CartLineView(str(line.sku_id), line.quantity) for line in done.left_out]
        return MergedView([CartView.of(cart) for cart in carts], left_out)

    @get(
        "/v1/carts/{cart_id:str}/quote",
        guards=[allow(*SHOPPERS)],
        tags=["checkout"],
        summary="What a cart costs, or why not",
    )
    async def get_quote(request: AnyRequest, cart_id: FromPath[str]) -> QuoteView:
        _cart, priced, available = await service.quote(principal_of(request), parse_id(cart_id))
        return QuoteView.of(priced, available)

    @get(
        "/v1/checkouts/{order_id:str}",
        guards=[allow(*SHOPPERS, "support", "admin")],
        tags=["checkout"],
        summary="How far an order has come that is being placed",
    )
    async def get_checkout(request: AnyRequest, order_id: FromPath[str]) -> CheckoutView:
        return CheckoutView.of(await service.checkout(principal_of(request), parse_id(order_id)))

    return [merge_carts, get_quote, get_checkout]
