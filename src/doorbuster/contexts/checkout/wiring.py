"""Builds the checkout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from doorbuster.contexts.checkout.desk import Desk
from doorbuster.contexts.checkout.events import consumers
from doorbuster.contexts.checkout.purge import Purge
from doorbuster.contexts.checkout.saga import Saga
from doorbuster.contexts.checkout.service import NAME, CheckoutService
from doorbuster.contexts.checkout.terms import Terms
from doorbuster.contracts.catalog import Prices
from doorbuster.contracts.inventory import Inventory
from doorbuster.contracts.orders import Orders
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.checkout.migrations")


@dataclass(frozen=True)
class CheckoutContext:
    service: CheckoutService
    saga: Saga
    purge: Purge
    context: Context
    close: Callable[[], Awaitable[None]]


def build(
    platform: Platform, database: Database, ring: KeyRing, catalog: Prices, inventory: Inventory, orders: Orders
) -> CheckoutContext:
    """`ring` signs the tokens of guests."""
    settings = platform.settings.checkout
    desk = Desk(database, platform.clock, settings)
    saga = Saga(database, platform.clock, settings, desk, inventory, orders)
    terms = Terms(platform, database)
    service = CheckoutService(platform, database, ring, catalog, inventory, desk, terms, saga)
    purge = Purge(database, platform.clock, settings.carts_kept_days)

    def faces() -> Faces:
        from doorbuster.contexts.checkout import http, http_terms

        timeout_s = platform.settings.http.request_timeout_s
        return Faces([*http.routes(service, ring), *http_terms.routes(terms)], http.raw_routes(service, timeout_s))

    return CheckoutContext(
        service,
        saga,
        purge,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            consumers=consumers(platform.clock),
            tasks=(
                BackgroundTask("checkout-saga", "back", saga.run),
                BackgroundTask("checkout-purge", "back", purge.run),
            ),
            keeps_idempotency_keys=True,
        ),
        service.close,
    )
