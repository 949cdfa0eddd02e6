"""Checks between the warehouse and those who take from it: orders and flash sales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from doorbuster.contracts.audit import (
    AllotmentFact,
    AuditsInventory,
    AuditsOrders,
    AuditsSales,
    Check,
    HoldFact,
    OrderFact,
    SaleFact,
)
from doorbuster.contracts.orders import PaidLine
from doorbuster.lab.audit.looking import check_facts
from doorbuster.platform.bus.progress import Flow

HOLDS = {
    "pending_payment": frozenset({"held", "released"}),
    "paid": frozenset({"sold"}),
    "shipped": frozenset({"sold"}),
    "delivering": frozenset({"sold"}),
    "completed": frozenset({"sold"}),
    "cancelled": frozenset({"released"}),
    "refunding": frozenset({"sold", "released"}),
    "refunded": frozenset({"sold", "released"}),
}
"""How a hold may stand while its order stands where the key says. A hold may run out while an order is unpaid: when it
is paid after all, the units are taken again or the money goes back. Goods of a refunded order come back or not."""


class StockFlows(Struct, frozen=True):
    """Who tells the warehouse what, in the order in which effects follow causes."""

    orders_to_inventory: Flow
    sales_to_inventory: Flow
    inventory_to_orders: Flow


async def check_stock(
    inventory: AuditsInventory, orders: AuditsOrders, sales: AuditsSales, flows: StockFlows
) -> Sequence[Check]:
    return [
        await _orders_have_their_units(inventory, orders, flows),
        await _sold_units_have_an_order(inventory, orders),
        await _sales_have_their_units(inventory, sales, flows),
    ]


async def _orders_have_their_units(inventory: AuditsInventory, orders: AuditsOrders, flows: StockFlows) -> Check:
    """Cause: the order's status. Effect: its units are held, sold or released."""

    async def wrong(facts: Sequence[OrderFact]) -> dict[int, str]:
        placed = [fact for fact in facts if not fact.from_sale]
        found = {hold.order_id: hold for hold in await inventory.hold_facts_of([fact.order_id for fact in placed])}
        return {fact.order_id: words for fact in placed if (words := _order_and_hold(fact, found.get(fact.order_id)))}

    return await check_facts(
        "every order has its units",
        "orders",
        orders.order_facts(),
        wrong,
        orders.order_facts_of,
        [flows.orders_to_inventory, flows.inventory_to_orders],
    )


def _order_and_hold(order: OrderFact, hold: HoldFact | None) -> str:
    if hold is None:
        return f"nothing is held for order {order.order_id}"
    if hold.status not in HOLDS[order.status]:
        return f"order {order.order_id} is {order.status}, but its units are {hold.status}"
    if hold.status != "released" and _per_sku(hold.lines) != _per_sku(order.lines):
        return f"the units {hold.status} for order {order.order_id} are not those of its lines"
    return ""


def _per_sku(lines: Sequence[PaidLine]) -> Mapping[int, int]:
    units: dict[int, int] = {}
    for line in lines:
        units[line.sku_id] = units.get(line.sku_id, 0) + line.quantity
    return {sku_id: quantity for sku_id, quantity in units.items() if quantity}


async def _sold_units_have_an_order(inventory: AuditsInventory, orders: AuditsOrders) -> Check:
    """Effect: units are sold, read first. Cause: their order, which must be there already."""

    async def wrong(facts: Sequence[HoldFact]) -> dict[int, str]:
        sold = [fact.order_id for fact in facts if fact.status == "sold"]
        found = {order.order_id for order in await orders.order_facts_of(sold)}
        return {
            order_id: f"units are sold for order {order_id}, which is none"
            for order_id in sold
            if order_id not in found
        }

    return await check_facts(
        "no units sold without an order", "holds", inventory.hold_facts(), wrong, inventory.hold_facts_of, []
    )


async def _sales_have_their_units(inventory: AuditsInventory, sales: AuditsSales, flows: StockFlows) -> Check:
    """What a sale has, had and gave back is what the warehouse allotted to it and took back."""

    async def wrong(facts: Sequence[SaleFact]) -> dict[int, str]:
        found = {each.sale_id: each for each in await inventory.allotment_facts_of([fact.sale_id for fact in facts])}
        return {fact.sale_id: words for fact in facts if (words := _sale_and_allotment(fact, found.get(fact.sale_id)))}

    return await check_facts(
        "sales = allotments of the warehouse",
        "sales",
        sales.sale_facts(),
        wrong,
        sales.sale_facts_of,
        [flows.sales_to_inventory, flows.orders_to_inventory],
    )


def _sale_and_allotment(sale: SaleFact, allotment: AllotmentFact | None) -> str:
    if allotment is None:
        return f"the warehouse has allotted nothing to sale {sale.sale_id}"
    if (allotment.sku_id, allotment.allotted) != (sale.sku_id, sale.units + sale.returned):
        return (
            f"sale {sale.sale_id} had {sale.units + sale.returned} units, the warehouse allotted {allotment.allotted}"
        )
    if allotment.returned != sale.returned:
        return f"sale {sale.sale_id} gave {sale.returned} units back, the warehouse took {allotment.returned}"
    if allotment.sold > sale.claimed:
        return f"{allotment.sold} units of sale {sale.sale_id} are sold, but only {sale.claimed} are claimed"
    return ""
