"""Builds the orders."""

from __future__ import annotations

from dataclasses import dataclass

from doorbuster.contexts.orders.events import consumers
from doorbuster.contexts.orders.expiry import Expiry
from doorbuster.contexts.orders.service import NAME, OrdersService
from doorbuster.contracts.flash_sale import FlashSale
from doorbuster.contracts.payments import Payments
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.orders.migrations")


@dataclass(frozen=True)
class OrdersContext:
    service: OrdersService
    expiry: Expiry
    context: Context


def build(platform: Platform, database: Database, flash_sale: FlashSale, payments: Payments) -> OrdersContext:
    service = OrdersService(platform, database, flash_sale, payments)
    expiry = Expiry(platform, database, payments)

    def faces() -> Faces:
        from doorbuster.contexts.orders import http

        return Faces(http.routes(service))

    return OrdersContext(
        service,
        expiry,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            consumers=consumers(platform.clock),
            tasks=(BackgroundTask("orders-expiry", "back", expiry.run),),
        ),
    )
