"""Binds the audit to a shop."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.apps.shop import Shop
from doorbuster.contracts.audit import BREACHES_SHOWN, Auditable, Check
from doorbuster.lab.audit.between import Flows, check_between
from doorbuster.lab.audit.report import AuditReport
from doorbuster.lab.audit.stock import StockFlows, check_stock
from doorbuster.platform.bus.consumer import dead_letters
from doorbuster.platform.bus.progress import Flow


async def audit_shop(shop: Shop) -> AuditReport:
    """Every context's own books, what must agree between them, and whether any event is dead."""
    checks: list[Check] = []
    books: Sequence[Auditable] = (
        shop.inventory.service,
        shop.flash_sale.service,
        shop.orders.service,
        shop.payments.service,
        shop.checkout.service,
        shop.delivery.service,
        shop.notifications.service,
        shop.support.service,
        shop.configuration.service,
        shop.waiting_room.service,
    )
    for context in books:
        checks += await context.audit()
    flows = Flows(
        claims_to_orders=_flow(shop, "orders.claims"),
        payments_to_orders=_flow(shop, "orders.payments"),
        orders_to_payments=_flow(shop, "payments.refunds"),
        orders_to_flash_sale=_flow(shop, "flash_sale.releases"),
    )
    checks += await check_between(shop.flash_sale.service, shop.orders.service, shop.payments.service, flows)
    stock_flows = StockFlows(
        orders_to_inventory=_flow(shop, "inventory.orders"),
        sales_to_inventory=_flow(shop, "inventory.sales"),
        inventory_to_orders=_flow(shop, "orders.lost-holds"),
    )
    checks += await check_stock(shop.inventory.service, shop.orders.service, shop.flash_sale.service, stock_flows)
    checks.append(await _no_dead_events(shop))
    return AuditReport(checks)


def _flow(shop: Shop, name: str) -> Flow:
    for context in shop.contexts:
        for consumer in context.consumers:
            if consumer.name == name:
                return Flow(shop.databases[consumer.source], context.database, consumer)
    raise LookupError(f"no consumer is called {name}")


async def _no_dead_events(shop: Shop) -> Check:
    dead = [row for context in shop.contexts for row in await context.database.read(dead_letters)]
    words = tuple(f"{row.consumer}, event {row.seq} ({row.type}): {row.error}" for row in dead[:BREACHES_SHOWN])
    return Check("no dead events", "broken" if dead else "holds", f"{len(dead)} dead", words)
