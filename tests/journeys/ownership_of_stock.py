"""Who may do what with a merchant's stock."""

from __future__ import annotations

from journeys.api_shop import ApiShop
from journeys.ownership import MERCHANTS, Rule

PLACES: dict[str, tuple[str, str]] = {}
"""Of a warehouse that goods may go to: whose SKU, and where it lies now."""


def stocked_sku(shop: ApiShop, who: str) -> str:
    return shop.sku_in_stock(who)


def another_place(shop: ApiShop, who: str) -> str:
    sku_id = shop.sku_in_stock(who)
    (lies,) = shop.get(f"/v1/stock?sku_id={sku_id}", who)["warehouses"]
    place = shop.post("/v1/warehouses", who, warehouse(shop, "", who))["id"]
    PLACES[place] = (sku_id, lies["warehouse_id"])
    return place


def warehouse(shop: ApiShop, _id: str, _who: str) -> object:
    return {"code": f"w-{shop.key()}"[:32].lower(), "name": "Somewhere"}


def a_unit(_shop: ApiShop, sku_id: str, _who: str) -> object:
    return {"lines": [{"sku_id": sku_id, "quantity": 1}]}


def a_unit_to(_shop: ApiShop, place: str, _who: str) -> object:
    sku_id, lies = PLACES.get(place) or next(iter(PLACES.values()))
    return {"lines": [{"sku_id": sku_id, "quantity": 1}], "warehouse_id": lies, "to_warehouse_id": place}


#        nobody owner other merchant rival courier support admin
_MINE = "401 403 403 201 404 403 403 201"
_THEIRS = "401 403 403 404 201 403 403 201"
_SEEN = ("401 403 403 200 404 403 403 200", "401 403 403 404 200 403 403 200", stocked_sku, MERCHANTS)
ALL = "200 200 200 200 200 200 200 200"

RULES = {
    "GET /v1/warehouses": Rule("401 403 403 200 200 403 403 200"),
    "POST /v1/warehouses": Rule("401 403 403 201 201 403 403 201", body=warehouse),
    "POST /v1/stock/receipts": Rule(_MINE, _THEIRS, stocked_sku, MERCHANTS, a_unit),
    "POST /v1/stock/write-offs": Rule(_MINE, _THEIRS, stocked_sku, MERCHANTS, a_unit),
    "POST /v1/stock/transfers": Rule(_MINE, _THEIRS, another_place, MERCHANTS, a_unit_to),
    "GET /v1/stock": Rule(*_SEEN, query="sku_id"),
    "GET /v1/stock/movements": Rule(*_SEEN, query="sku_id"),
    "GET /v1/skus/{sku_id}/availability": Rule(ALL, ALL, stocked_sku, MERCHANTS),
}
