"""The shop: every context, built and bound to its neighbours. The one place that knows them all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from doorbuster.apps.runtime_settings import new_runtime
from doorbuster.contexts.accounts import wiring as accounts
from doorbuster.contexts.catalog import wiring as catalog
from doorbuster.contexts.checkout import wiring as checkout
from doorbuster.contexts.configuration import wiring as configuration
from doorbuster.contexts.delivery import wiring as delivery
from doorbuster.contexts.flash_sale import wiring as flash_sale
from doorbuster.contexts.inventory import wiring as inventory
from doorbuster.contexts.notifications import wiring as notifications
from doorbuster.contexts.orders import wiring as orders
from doorbuster.contexts.payments import wiring as payments
from doorbuster.contexts.support import wiring as support
from doorbuster.contexts.waiting_room import wiring as waiting_room
from doorbuster.kernel.clock import SystemClock
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Context, Platform
from doorbuster.platform.http.admissions import AdmissionKeys
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import migrate, pending
from doorbuster.platform.sql.open import open_databases
from doorbuster.platform.sql.workers import HISTORY as WORKER_HISTORY
from doorbuster.platform.sql.workers import WorkerLease

CONTEXTS = (
    "accounts",
    "catalog",
    "inventory",
    "flash_sale",
    "payments",
    "orders",
    "checkout",
    "delivery",
    "notifications",
    "support",
    "configuration",
    "waiting_room",
)
WORKERS = "workers"


@dataclass(frozen=True)
class Shop:
    settings: Settings
    platform: Platform
    lease: WorkerLease
    ring: KeyRing
    databases: Mapping[str, Database]
    accounts: accounts.AccountsContext
    catalog: catalog.CatalogContext
    inventory: inventory.InventoryContext
    flash_sale: flash_sale.FlashSaleContext
    payments: payments.PaymentsContext
    orders: orders.OrdersContext
    checkout: checkout.CheckoutContext
    delivery: delivery.DeliveryContext
    notifications: notifications.NotificationsContext
    support: support.SupportContext
    configuration: configuration.ConfigurationContext
    waiting_room: waiting_room.WaitingRoomContext

    @property
    def contexts(self) -> Sequence[Context]:
        return [
            self.accounts.context,
            self.catalog.context,
            self.inventory.context,
            self.flash_sale.context,
            self.payments.context,
            self.orders.context,
            self.checkout.context,
            self.delivery.context,
            self.notifications.context,
            self.support.context,
            self.configuration.context,
            self.waiting_room.context,
        ]

    async def close(self) -> None:
        """Carries through what was begun, those who ask before those who are asked."""
        await self.checkout.close()
        await self.orders.service.close()
        await self.waiting_room.service.close()
        await self.flash_sale.service.close()
        await self.notifications.close()
        await self.payments.close()
        await self.inventory.close()
        await self.catalog.close()


class NotMigrated(Exception):
    """The database lacks migrations: `doorbuster migrate` applies them."""


HISTORIES = {
    WORKERS: WORKER_HISTORY,
    "accounts": accounts.HISTORY,
    "catalog": catalog.HISTORY,
    "inventory": inventory.HISTORY,
    "flash_sale": flash_sale.HISTORY,
    "payments": payments.HISTORY,
    "orders": orders.HISTORY,
    "checkout": checkout.HISTORY,
    "delivery": delivery.HISTORY,
    "notifications": notifications.HISTORY,
    "support": support.HISTORY,
    "configuration": configuration.HISTORY,
    "waiting_room": waiting_room.HISTORY,
}


async def migrate_all(settings: Settings) -> dict[str, list[str]]:
    """Applies what is pending in every context. Returns the names of what was applied, by context."""
    databases = await open_databases(settings.database, settings.folder, list(HISTORIES))
    now_ms = SystemClock().now_ms()
    try:
        return {name: await migrate(databases[name], history, now_ms) for name, history in HISTORIES.items()}
    finally:
        for database in databases.values():
            await database.close()


@asynccontextmanager
async def open_shop(settings: Settings, wakeups: Wakeups | None = None) -> AsyncGenerator[Shop]:
    """Builds the shop on its databases, and closes them in the end.

    The embedded stores are migrated here; a PostgreSQL is migrated by `doorbuster migrate`.
    Raises WrongSetting, NotDurable, NotMigrated, NewerSchema, Unavailable.
    """
    secrets = load_secrets(settings)
    clock = SystemClock()
    databases = await open_databases(settings.database, settings.folder, list(HISTORIES))
    try:
        await _check_migrations(settings, databases, clock.now_ms())
        lease = await WorkerLease.take(databases[WORKERS], clock)
        platform = Platform(settings, clock, lease.ids, wakeups or Wakeups(), new_runtime(settings))
        ring = KeyRing(secrets.signing_keys(), clock)
        admissions = AdmissionKeys(secrets.signing_keys())
        shop = _build(settings, platform, lease, ring, admissions, databases, secrets.webhook_secrets)
        try:
            await shop.configuration.service.load()  # what is set holds from the first request on
            yield shop
        finally:
            await shop.close()
            await lease.release()
    finally:
        for database in databases.values():
            await database.close()


async def _check_migrations(settings: Settings, databases: Mapping[str, Database], now_ms: int) -> None:
    for name, history in HISTORIES.items():
        missing = await pending(databases[name], history)
        if not missing:
            continue
        if settings.database.url:
            raise NotMigrated(f"{name} lacks {', '.join(missing)}: run `doorbuster migrate` first")
        await migrate(databases[name], history, now_ms)


def _build(
    settings: Settings,
    platform: Platform,
    lease: WorkerLease,
    ring: KeyRing,
    admissions: AdmissionKeys,
    databases: Mapping[str, Database],
    webhook_secrets: Sequence[str],
) -> Shop:
    """Who asks whom: see docs/architecture.md. Whoever is asked is built before whoever asks."""
    built_accounts = accounts.build(platform, databases["accounts"], ring)
    built_catalog = catalog.build(platform, databases["catalog"])
    built_inventory = inventory.build(platform, databases["inventory"], built_catalog.service)
    built_flash_sale = flash_sale.build(
        platform,
        databases["flash_sale"],
        built_catalog.service,
        built_inventory.service,
        showcase=built_catalog.service,
        admissions=admissions,
    )
    built_payments = payments.build(platform, databases["payments"], webhook_secrets)
    built_orders = orders.build(
        platform,
        databases["orders"],
        built_flash_sale.service,
        built_payments.service,
        built_inventory.service,
    )
    built_checkout = checkout.build(
        platform, databases["checkout"], ring, built_catalog.service, built_inventory.service, built_orders.service
    )
    return Shop(
        settings=settings,
        platform=platform,
        lease=lease,
        ring=ring,
        databases=databases,
        accounts=built_accounts,
        catalog=built_catalog,
        inventory=built_inventory,
        flash_sale=built_flash_sale,
        payments=built_payments,
        orders=built_orders,
        checkout=built_checkout,
        delivery=delivery.build(platform, databases["delivery"], built_orders.service),
        notifications=notifications.build(
            platform, databases["notifications"], built_accounts.service, built_orders.service
        ),
        support=support.build(platform, databases["support"]),
        configuration=configuration.build(platform, databases["configuration"]),
        waiting_room=waiting_room.build(platform, databases["waiting_room"], built_flash_sale.service, admissions),
    )
