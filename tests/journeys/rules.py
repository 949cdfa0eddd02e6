"""Who may do what with whose, route by route: what test_api_ownership asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from journeys import things
from journeys.api_shop import PASSWORD, YUAN, ApiShop

ASKERS = ("nobody", "owner", "other", "merchant", "rival", "courier", "rider", "support", "admin", "guest")
"""`owner` and `other` are customers, `merchant` and `rival` merchants, `courier` and `rider` couriers."""

Thing = Callable[[ApiShop, str], str]
Body = Callable[[ApiShop, str, str], object]
"""Of the shop, the thing's id, and who asks."""

ANYBODY = " ".join(ASKERS)
ACCOUNTS = "owner other merchant rival courier rider support admin"
KNOWN = f"{ACCOUNTS} guest"
BUYERS = "owner other guest"
TRADERS = "merchant rival admin"
SELLERS = "merchant rival support admin"
CUSTOMERS = "owner other merchant rival courier rider guest"
DESK = "support admin"


class Rule(Struct, frozen=True):
    """Whose role the route admits; who of them gets `ok` about the first owner's thing, and who about the second's.

    Of the others those without the role get 403, nobody 401, and the rest `no`. About ids that are none everybody with
    the role gets 400, about ids of nothing `unknown`.
    """

    may: str
    own: str | None = None
    """None: everybody whose role is admitted."""
    others: str | None = None
    ok: int = 200
    no: int = 404
    thing: Thing | None = None
    owners: tuple[str, str] = ("owner", "other")
    body: Body | None = None
    unknown: int | None = 404
    """None: what the path names need not exist."""
    forbidden: str = ""
    """Who sees it, and is told that it is not for them."""
    once: bool = False
    """It can be done once: everybody who may do it gets a thing of their own for it."""

    def expected(self, who: str, winners: str | None) -> int:
        if who not in self.may.split() or who in self.forbidden.split():
            return 401 if who == "nobody" else 403
        return self.ok if who in (self.may if winners is None else winners).split() else self.no


TWO_MERCHANTS = ("merchant", "rival")
TWO_COURIERS = ("courier", "rider")


def public(ok: int = 200, body: Body | None = None) -> Rule:
    return Rule(ANYBODY, ok=ok, no=ok, body=body)


def of_merchants(thing: Thing, may: str = TRADERS, ok: int = 200, no: int = 404, body: Body | None = None) -> Rule:
    """A thing that belongs to one merchant; `may` names who else looks after all of them."""
    overseers = [who for who in ("support", "admin") if who in may.split()]
    own, others = (" ".join([who, *overseers]) for who in TWO_MERCHANTS)
    return Rule(may, own, others, ok, no, thing, TWO_MERCHANTS, body)


def of_customers(thing: Thing, may: str = KNOWN, also: str = "", ok: int = 200, body: Body | None = None) -> Rule:
    """A thing that belongs to one customer; `also` sees it too."""
    return Rule(may, f"owner {also}", f"other {also}", ok, 404, thing, ("owner", "other"), body)


def of_couriers(thing: Thing, ok: int = 200) -> Rule:
    return Rule("courier rider", "courier", "rider", ok, 404, thing, TWO_COURIERS)


# --- bodies -----------------------------------------------------------------------------------------------------


def always(**body: Any) -> Body:
    return lambda _shop, _id, _who: body


def product(shop: ApiShop, _id: str, _who: str) -> object:
    sku = {"code": f"OWN-{shop.key()}", "price": {"amount": 1, "currency": YUAN}}
    return {"title": {"en": "x"}, "category": "tea", "skus": [sku]}


def brand(shop: ApiShop, product_id: str, who: str) -> object:
    found = shop.ask("GET", f"/v1/products/{product_id}", "admin").json()
    return {"version": found.get("version", 1), "brand": who}


def terms(shop: ApiShop, sku_id: str, _who: str) -> object:
    return shop.sale_body(sku_id)


def registration(_shop: ApiShop, _id: str, who: str) -> object:
    return {"email": f"{who}-two@example.org", "password": PASSWORD, "name": who}


def log_in(_shop: ApiShop, _id: str, who: str) -> object:
    return {"email": f"{who}-none@example.org", "password": PASSWORD}


def the_total(shop: ApiShop, order_id: str, _who: str) -> object:
    found = shop.ask("GET", f"/v1/orders/{order_id}", "admin").json()
    return {"amount": found.get("total", {"amount": 1, "currency": YUAN})}


def the_quote(shop: ApiShop, cart_id: str, _who: str) -> object:
    for who in ("owner", "other"):
        found = shop.ask("GET", f"/v1/carts/{cart_id}", who)
        if found.is_success:
            return {"quote": found.json()["quote"]["fingerprint"]}
    return {"quote": "0" * 16}


def a_line(_shop: ApiShop, sku_id: str, _who: str) -> object:
    return things.lines_of(sku_id or "1")


def warehouse(shop: ApiShop, _id: str, _who: str) -> object:
    return {"code": f"w{shop.key()}", "name": "x"}


def guest_token(shop: ApiShop, _id: str, _who: str) -> object:
    return {"guest_token": shop.people["guest"].token}


def coupon(shop: ApiShop, _id: str, who: str) -> object:
    named = {"merchant_id": shop.people["merchant"].account_id} if who == "admin" else {}
    times = {"valid_from": "2026-01-01T00:00:00Z", "valid_to": "2999-01-01T00:00:00Z"}
    return {"code": f"C-{shop.key()}".upper(), "kind": "percent", "percent": 10, "currency": YUAN, **times, **named}


def shipping_method(shop: ApiShop, _id: str, who: str) -> object:
    named = {"merchant_id": shop.people["merchant"].account_id} if who == "admin" else {}
    return {"name": "Express", **named}


def a_setting(shop: ApiShop, _id: str, who: str) -> object:
    version = shop.get("/v1/config", "admin")["version"]
    return {"version": version, "reason": f"{who} wants it", "changes": [{"key": "logs", "value": {"level": "info"}}]}


def the_way_back(shop: ApiShop, _id: str, who: str) -> object:
    version = shop.get("/v1/config", "admin")["version"]
    return {"version": version, "reason": f"{who} wants it", "to": 0}


delivery = always(destination=things.HOME, contact_email="a@example.org", shipping_method="standard")
refresh = always(refresh_token="x" * 43)
one_unit = always(quantity=1)
parcel = always(carrier="SF", tracking_number="SF1")

# --- rules ------------------------------------------------------------------------------------------------------

RULES: dict[str, Rule] = {
    # the shop itself
    "GET /healthz": public(),
    "GET /readyz": public(),
    "GET /docs": public(),
    "GET /openapi.json": public(),
    "GET /asyncapi.json": public(),
    "GET /problems": public(),
    "GET /problems/{slug}": Rule(ANYBODY, thing=lambda _shop, who: {"owner": "sold-out", "other": "conflict"}[who]),
    # accounts
    "POST /v1/accounts": public(201, registration),
    "POST /v1/sessions": public(401, log_in),
    "POST /v1/sessions/refresh": public(401, refresh),
    "POST /v1/sessions/logout": public(204, refresh),
    "GET /v1/me": Rule(ACCOUNTS),
    "GET /v1/me/addresses": Rule(ACCOUNTS),
    "POST /v1/me/addresses": Rule(ACCOUNTS, ok=201, body=always(**things.ADDRESS)),
    "DELETE /v1/me/addresses/{address_id}": of_customers(things.an_address, ACCOUNTS, ok=204),
    # catalogue
    "GET /v1/categories": public(),
    "GET /v1/products": public(),
    "GET /v1/products/{product_id}": Rule(
        ANYBODY, "merchant admin", "rival admin", thing=things.a_draft, owners=TWO_MERCHANTS
    ),
    "POST /v1/products": Rule(TRADERS, ok=201, body=product),
    "PATCH /v1/products/{product_id}": of_merchants(things.a_product, no=403, body=brand),
    # stock
    "GET /v1/warehouses": Rule(TRADERS),
    "POST /v1/warehouses": Rule(TRADERS, ok=201, body=warehouse),
    "POST /v1/stock/receipts": of_merchants(things.a_sku, ok=201, body=a_line),
    "POST /v1/stock/write-offs": of_merchants(things.a_sku, ok=201, body=a_line),
    "GET /v1/stock?sku_id={sku_id}": of_merchants(things.a_sku),
    "GET /v1/stock/movements?sku_id={sku_id}": of_merchants(things.a_sku),
    "POST /v1/stock/transfers": of_merchants(things.a_stocked_sku, ok=201, body=things.transfer),
    "GET /v1/skus/{sku_id}/availability": Rule(ANYBODY, thing=things.a_sku, owners=TWO_MERCHANTS),
    # flash sales
    "GET /v1/sales": public(),
    "GET /v1/sales/{sale_id}": Rule(ANYBODY, thing=things.a_sale, owners=TWO_MERCHANTS),
    "POST /v1/sales": of_merchants(things.a_sku, ok=201, no=403, body=terms),
    "POST /v1/sales/{sale_id}/open": of_merchants(things.a_sale, no=403),
    "POST /v1/sales/{sale_id}/close": of_merchants(things.a_sale, no=403),
    "POST /v1/sales/{sale_id}/claims": Rule(ACCOUNTS, ok=201, thing=things.a_sale, owners=TWO_MERCHANTS, body=one_unit),
    "GET /v1/claims/{order_id}": of_customers(things.an_order, ACCOUNTS),
    # waiting rooms
    "PUT /v1/sales/{sale_id}/waiting-room": of_merchants(things.a_scheduled_sale, no=403, body=always(enabled=True)),
    "GET /v1/sales/{sale_id}/waiting-room": Rule(ANYBODY, thing=things.a_sale_with_a_room, owners=TWO_MERCHANTS),
    "GET /v1/sales/{sale_id}/waiting-room/draw": Rule(ANYBODY, thing=things.a_sale_with_a_room, owners=TWO_MERCHANTS),
    "POST /v1/sales/{sale_id}/waiting-room/tickets": Rule(
        "owner other", ok=201, thing=things.a_sale_with_a_room, owners=TWO_MERCHANTS
    ),
    "GET /v1/sales/{sale_id}/waiting-room/tickets/mine": of_customers(things.a_ticket, "owner other"),
    "GET /v1/sales/{sale_id}/waiting-room/tickets/mine/live": of_customers(things.a_ticket, "owner other"),
    # carts and checkout
    "POST /v1/carts": Rule(f"nobody {BUYERS}", ok=201, body=always(lines=[])),
    "GET /v1/me/carts": Rule(BUYERS),
    "GET /v1/carts/{cart_id}": of_customers(things.a_cart, BUYERS),
    "PUT /v1/carts/{cart_id}/lines/{sku_id}": Rule(
        BUYERS, "owner", "other", thing=things.a_line, body=one_unit, unknown=422
    ),  # a SKU that is none is told first
    "DELETE /v1/carts/{cart_id}/lines/{sku_id}": of_customers(things.a_line, BUYERS),
    "PUT /v1/carts/{cart_id}/delivery": of_customers(things.a_cart, BUYERS, body=delivery),
    "PUT /v1/carts/{cart_id}/coupon": of_customers(things.a_cart_with_coupon, BUYERS, body=things.its_coupon),
    "DELETE /v1/carts/{cart_id}/coupon": of_customers(things.a_cart, BUYERS),
    "GET /v1/carts/{cart_id}/quote": of_customers(things.a_cart, BUYERS),
    "POST /v1/carts/{cart_id}/checkout": of_customers(things.a_cart, BUYERS, ok=201, body=the_quote),
    "POST /v1/carts/merge": Rule("owner other", body=guest_token),
    "GET /v1/checkouts/{order_id}": of_customers(things.a_placed_order, f"{BUYERS} {DESK}", DESK),
    "PUT /v1/shipping-methods/{code}": Rule(
        TRADERS, thing=lambda _shop, _who: "express", owners=TWO_MERCHANTS, body=shipping_method, unknown=None
    ),
    "DELETE /v1/shipping-methods/{code}?merchant_id={merchant_id}": Rule(
        TRADERS,
        "merchant admin",
        "rival admin",
        204,
        403,
        things.a_shipping_method,
        TWO_MERCHANTS,
        unknown=None,
        once=True,
    ),
    "GET /v1/merchants/{merchant_id}/shipping-methods": Rule(
        ANYBODY, thing=things.an_account, owners=TWO_MERCHANTS, unknown=None
    ),
    "GET /v1/coupons?merchant_id={merchant_id}": Rule(
        TRADERS, "merchant admin", "rival admin", no=403, thing=things.an_account, owners=TWO_MERCHANTS, unknown=None
    ),
    "POST /v1/coupons": Rule(TRADERS, ok=201, body=coupon),
    # orders and payments
    "GET /v1/orders": Rule(KNOWN),
    "GET /v1/merchant/orders": Rule(SELLERS),
    "GET /v1/orders/{order_id}": of_customers(things.an_order, also=f"merchant {DESK}"),
    "POST /v1/orders/{order_id}/cancel": of_customers(things.an_order, also=f"merchant {DESK}"),
    "POST /v1/orders/{order_id}/payments": of_customers(things.an_order, ok=201, body=the_total),
    "PUT /v1/orders/{order_id}/destination": of_customers(things.a_placed_order, body=always(**things.HOME)),
    "POST /v1/orders/{order_id}/receive": Rule(
        KNOWN, f"owner {DESK}", f"other {DESK}", thing=things.a_sent_order, forbidden="merchant"
    ),
    "POST /v1/orders/{order_id}/refunds": of_merchants(
        things.a_sold_order, SELLERS, ok=201, body=always(amount=1, reason="x")
    ),
    "GET /v1/payments/{payment_id}": of_customers(things.a_payment, ACCOUNTS, DESK),
    "POST /v1/payments/webhooks/{provider}": Rule(
        ANYBODY,
        "",
        "",
        no=400,
        thing=lambda _shop, who: {"owner": "simulator", "other": "simulator"}[who],
        body=one_unit,
    ),
    # parcels
    "POST /v1/orders/{order_id}/shipment": Rule(
        SELLERS,
        f"merchant {DESK}",
        f"rival {DESK}",
        ok=201,
        thing=things.a_sold_order,
        owners=TWO_MERCHANTS,
        body=parcel,
        once=True,
    ),
    "POST /v1/orders/{order_id}/tracking": of_merchants(
        things.a_sent_parcel, SELLERS, ok=201, body=always(description="x")
    ),
    "GET /v1/orders/{order_id}/tracking": of_customers(things.a_sent_order, also=f"merchant {DESK}"),
    "GET /v1/merchant/parcels": Rule("merchant rival"),
    # meals
    "PUT /v1/merchant/place": Rule("merchant rival", body=always(**things.SHOP_PLACE)),
    "GET /v1/merchant/deliveries": Rule("merchant rival"),
    "GET /v1/orders/{order_id}/delivery": of_customers(things.an_ordered_meal, also=f"merchant {DESK}"),
    "POST /v1/orders/{order_id}/delivery/accept": of_merchants(things.a_meal, SELLERS),
    "POST /v1/orders/{order_id}/delivery/decline": of_merchants(things.a_meal, SELLERS, body=always(reason="x")),
    "POST /v1/orders/{order_id}/delivery/ready": of_merchants(things.an_accepted_meal, SELLERS),
    "POST /v1/orders/{order_id}/delivery/reassign": Rule(
        SELLERS,
        f"merchant {DESK}",
        f"rival {DESK}",
        thing=things.an_assigned_meal_of,
        owners=TWO_MERCHANTS,
        once=True,
    ),
    "PUT /v1/orders/{order_id}/delivery/priority": Rule(
        DESK, thing=things.a_meal, owners=TWO_MERCHANTS, body=always(priority=1)
    ),
    # couriers
    "PUT /v1/courier/presence": Rule("courier rider", body=always(online=True)),
    "POST /v1/courier/positions": Rule("courier rider", body=always(positions=[things.SHOP_PLACE])),
    "GET /v1/courier/offer": Rule("courier rider"),
    "POST /v1/courier/offers/{offer_id}/accept": of_couriers(things.an_offer),
    "POST /v1/courier/offers/{offer_id}/decline": of_couriers(things.an_offer, ok=204),
    "GET /v1/courier/tasks": Rule("courier rider"),
    "POST /v1/courier/tasks/{task_id}/pick-up": of_couriers(things.an_assigned_meal),
    "POST /v1/courier/tasks/{task_id}/deliver": of_couriers(things.a_carried_meal),
    "POST /v1/courier/tasks/{task_id}/give-up": of_couriers(things.an_assigned_meal),
    "GET /v1/orders/{order_id}/live": of_customers(things.a_placed_order, also=DESK),
    "GET /v1/orders/{order_id}/live/socket": Rule(KNOWN, "", "", no=426, thing=things.a_placed_order, unknown=426),
    # notifications
    "GET /v1/me/notifications": Rule(KNOWN),
    "POST /v1/me/notifications/read": Rule(KNOWN, body=always(number=0)),
    "GET /v1/me/notifications/stream": Rule(KNOWN),
    "GET /v1/me/notifications/live": Rule(KNOWN, "", no=426),
    "GET /v1/me/notification-preferences": Rule(ACCOUNTS),
    "PUT /v1/me/notification-preferences": Rule(ACCOUNTS, body=always(locale="en")),
    "GET /v1/webhook-endpoints": Rule("merchant rival"),
    "POST /v1/webhook-endpoints": Rule("merchant rival", ok=201, body=always(url="http://127.0.0.1:9/orders")),
    "DELETE /v1/webhook-endpoints/{endpoint_id}": Rule(
        "merchant rival", "merchant", "rival", ok=204, thing=things.an_endpoint, owners=TWO_MERCHANTS
    ),
    "GET /v1/notifications/dead": Rule("admin"),
    "POST /v1/notifications/{notification_id}/replay": Rule("admin", thing=things.a_dead_message, owners=TWO_MERCHANTS),
    # support
    "GET /v1/conversations": Rule(f"{CUSTOMERS} support"),
    "POST /v1/conversations": Rule(CUSTOMERS, ok=201, body=always(text="hello")),
    "GET /v1/conversations/{conversation_id}": of_customers(things.a_conversation, also=DESK),
    "GET /v1/conversations/{conversation_id}/messages": of_customers(things.a_conversation, also=DESK),
    "POST /v1/conversations/{conversation_id}/messages": of_customers(
        things.a_taken_conversation, f"{CUSTOMERS} support", "support", 201, always(text="x")
    ),
    "POST /v1/conversations/{conversation_id}/read": of_customers(
        things.a_taken_conversation, f"{CUSTOMERS} support", "support", body=always(number=1)
    ),
    "POST /v1/conversations/{conversation_id}/close": of_customers(
        things.a_taken_conversation, f"{CUSTOMERS} support", "support"
    ),
    "GET /v1/support/queue": Rule(DESK),
    "GET /v1/support/live": Rule(f"{CUSTOMERS} support", "", no=426),
    "POST /v1/conversations/{conversation_id}/take": Rule("support", thing=things.a_conversation),
    "POST /v1/conversations/{conversation_id}/transfer": Rule(
        DESK, thing=things.a_taken_conversation, body=always(to=None)
    ),
    "POST /v1/support/queue/next": Rule("support", thing=None),
    "POST /v1/support/away": Rule("support"),
    # operation
    "GET /v1/admin/breakers": Rule("admin"),
    "GET /v1/admin/shedding": Rule("admin"),
    "GET /v1/admin/waiting-rooms": Rule("admin"),
    "GET /v1/admin/cache": Rule("admin"),
    "POST /v1/admin/cache/flush": Rule("admin"),
    "PUT /v1/admin/breakers/{neighbour}": Rule(
        "admin", thing=lambda _shop, _who: "payments.simulator", body=always(forced="auto")
    ),
    "GET /v1/config": Rule("admin"),
    "PUT /v1/config": Rule("admin", body=a_setting),
    "POST /v1/config/rollback": Rule("admin", body=the_way_back),
    "GET /v1/config/changes": Rule("admin"),
    "GET /v1/config/changes/live": Rule("admin"),
    "GET /v1/config/settings/{key}": Rule("admin", thing=lambda _shop, _who: "logs"),
}
