"""Builds the orders."""

from __future__ import annotations

from dataclasses import dataclass

from doorbuster.contexts.orders.completion import Completion
from doorbuster.contexts.orders.events import consumers
from doorbuster.contexts.orders.expiry import Expiry
from doorbuster.contexts.orders.service import NAME, OrdersService
from doorbuster.contracts.flash_sale import FlashSale
from doorbuster.contracts.inventory import Inventory
from doorbuster.contracts.payments import Payments
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.orders.migrations")


@dataclass(frozen=True)
class OrdersContext:
    service: OrdersService
    expiry: Expiry
    completion: Completion
    context: Context


def build(
    platform: Platform, database: Database, flash_sale: FlashSale, payments: Payments, inventory: Inventory
) -> OrdersContext:
    service = OrdersService(platform, database, flash_sale, payments, inventory)
    expiry = Expiry(platform, database, payments)
    completion = Completion(platform, database)

    def faces() -> Faces:
        from doorbuster.contexts.orders import http

        return Faces(http.routes(service))

    return OrdersContext(
        service,
        expiry,
        completion,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            consumers=consumers(platform.clock),
            tasks=(
                BackgroundTask("orders-expiry", "back", expiry.run),
                BackgroundTask("orders-completion", "back", completion.run),
            ),
            keeps_idempotency_keys=True,
        ),
    )
