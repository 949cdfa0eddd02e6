"""A whole shop in one process whose time, ids, relays and payment provider belong to the simulation."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from conftest import NOW_MS
from doorbuster.contexts.flash_sale import wiring as flash_sale_wiring
from doorbuster.contexts.inventory import wiring as inventory_wiring
from doorbuster.contexts.orders import wiring as orders_wiring
from doorbuster.contexts.payments import wiring as payments_wiring
from doorbuster.contexts.payments.callbacks import simulator_door
from doorbuster.contexts.payments.events import consumers as payments_consumers
from doorbuster.contexts.payments.model import Pace
from doorbuster.contexts.payments.service import PaymentsService
from doorbuster.contexts.payments.signatures import Verifier
from doorbuster.contexts.payments.till import Till
from doorbuster.contracts.audit import Check
from doorbuster.contracts.catalog import SkuFacts
from doorbuster.contracts.inventory import SkuUnits
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.lab.audit.between import Flows, check_between
from doorbuster.lab.audit.stock import StockFlows, check_stock
from doorbuster.lab.payment_simulator.signatures import sign
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.bus.progress import Flow
from doorbuster.platform.bus.relay import Relay
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.sqlite import SqliteDatabase
from simulation.scripted_provider import ScriptedProvider

HISTORIES = {
    "inventory": inventory_wiring.HISTORY,
    "flash_sale": flash_sale_wiring.HISTORY,
    "orders": orders_wiring.HISTORY,
    "payments": payments_wiring.HISTORY,
}
SKU_ID = 9
MERCHANT = Principal(77, "merchant")
PRICE = Money(990, "CNY")
SECRET = "the secret of the simulation"
ROUNDS_MAX = 50
LONGEST_PAUSE_MS = 700_000
"""More than any lease, pause after a failure, or time between two checks."""


class OneSku:
    async def sku(self, sku_id: int) -> SkuFacts:
        return SkuFacts(sku_id, 8, MERCHANT.account_id, "TEA-1", "Tea 茶", Money(1990, "CNY"), active=True)


async def migrated_files(folder: Path) -> None:
    """Empty stores, to be copied: migrating takes longer than most examples."""
    for name, history in HISTORIES.items():
        database = SqliteDatabase(name, folder / f"{name}.sqlite")
        await migrate(database, history, NOW_MS)
        await database.close()


class World:
    """`open` before use. Rows are looked at through connections of its own, so that no memory can mislead it."""

    def __init__(self, template: Path, folder: Path) -> None:
        for name in HISTORIES:
            shutil.copy(template / f"{name}.sqlite", folder)
        self._folder = folder
        self.clock = ManualClock(NOW_MS)
        self.provider = ScriptedProvider(self.clock)
        self._ids = Snowflake(self.clock, worker=1)
        self._watching = {name: sqlite3.connect(folder / f"{name}.sqlite", isolation_level=None) for name in HISTORIES}
        for connection in self._watching.values():
            connection.row_factory = sqlite3.Row
        self.databases: dict[str, SqliteDatabase] = {}

    def open(self) -> None:
        """Builds every service anew: nothing is remembered but the rows."""
        self.databases = {name: SqliteDatabase(name, self._folder / f"{name}.sqlite", 1) for name in HISTORIES}
        wakeups = Wakeups()
        platform = Platform(Settings(data=str(self._folder)), self.clock, self._ids, wakeups)
        till = Till(
            self.databases["payments"],
            self.clock,
            self._ids,
            wakeups,
            {self.provider.name: self.provider},
            Pace(at_once=1, outages_max=1),
        )
        self.payments = PaymentsService(till, {self.provider.name: simulator_door(Verifier((SECRET,), 300))})
        built_inventory = inventory_wiring.build(platform, self.databases["inventory"], OneSku())
        self.inventory = built_inventory.service
        built_sale = flash_sale_wiring.build(platform, self.databases["flash_sale"], OneSku(), self.inventory)
        self.allotting = built_sale.service.allotting
        self.flash_sale = built_sale.service
        built_orders = orders_wiring.build(
            platform, self.databases["orders"], self.flash_sale, self.payments, self.inventory
        )
        self.orders, self.expiry = built_orders.service, built_orders.expiry
        self.relays: dict[str, Relay] = {}
        self._flows: dict[str, Flow] = {}
        for target, consumers in (
            ("inventory", built_inventory.context.consumers),
            ("flash_sale", built_sale.context.consumers),
            ("orders", built_orders.context.consumers),
            ("payments", payments_consumers(self.payments)),
        ):
            for consumer in consumers:
                if consumer.source not in self.databases:
                    continue  # nobody is delivered to here
                self._connect(consumer, target, wakeups)

    def _connect(self, consumer: Consumer, target: str, wakeups: Wakeups) -> None:
        source, own = self.databases[consumer.source], self.databases[target]
        self.relays[consumer.name] = Relay(source, own, consumer, wakeups, self.clock)
        self._flows[consumer.name] = Flow(source, own, consumer)

    async def stock(self, units: int) -> None:
        """Units of the one SKU that the shop sells arrive at its warehouse."""
        await self.inventory.receive_many(MERCHANT.account_id, "stock", [SkuUnits(SKU_ID, units)])

    async def close(self) -> None:
        await self.orders.close()
        await self.flash_sale.close()
        await self.inventory.close()
        for database in self.databases.values():
            await database.close()

    def forget(self) -> None:
        for connection in self._watching.values():
            connection.close()

    # --- rows -------------------------------------------------------------------------------------------------------

    def rows(self, context: str, sql: str, *parameters: object) -> list[sqlite3.Row]:
        return self._watching[context].execute(sql, parameters).fetchall()

    def one(self, context: str, sql: str, *parameters: object) -> Any:
        (row,) = self.rows(context, sql, *parameters)
        return row[0]

    @contextmanager
    def nothing_written(self, *contexts: str) -> Iterator[None]:
        """Asserts that the block leaves every row of these contexts as it was."""
        before = {name: self._everything(name) for name in contexts}
        yield
        assert {name: self._everything(name) for name in contexts} == before

    def _everything(self, context: str) -> dict[str, list[tuple[Any, ...]]]:
        tables = self.rows(context, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {name: [tuple(row) for row in self.rows(context, f"SELECT * FROM {name}")] for (name,) in tables}

    # --- what happens -----------------------------------------------------------------------------------------------

    async def call_back(self, payment_id: int, kind: str, event_id: str) -> None:
        """A callback signed by the provider, whatever it says."""
        intent = self.provider.intents[payment_id]
        body = msgspec.json.encode(
            {
                "id": event_id,
                "type": kind,
                "created": self.clock.now_ms(),
                "data": {
                    "payment_id": str(payment_id),
                    "order_id": str(intent.order_id),
                    "reference": intent.reference,
                    "amount": intent.amount,
                    "currency": intent.currency,
                    "refund_id": None,
                },
            }
        )
        signature = sign((SECRET.encode(),), self.clock.now_ms() // 1000, body)
        await self.payments.receive_webhook(self.provider.name, signature, body)

    async def step(self, relay: str) -> bool:
        more = await self.relays[relay].step()
        await self.relays[relay].retry_parked()
        return more

    async def redeliver(self, relay: str, back: int, *, inbox_too: bool) -> None:
        """Everything of the last `back` positions comes again; maybe nobody remembers that it came before."""
        target = self._flows[relay].target.name
        connection = self._watching[target]
        connection.execute("UPDATE bus_positions SET seq = max(0, seq - ?) WHERE consumer = ?", (back, relay))
        if inbox_too:
            connection.execute("DELETE FROM inbox WHERE consumer = ?", (relay,))
        await self.step(relay)

    async def settle(self) -> None:
        """Lets everything that is under way arrive; the provider is there."""
        self.provider.away, self.provider.mute_next = False, False
        quiet = 0
        for _ in range(ROUNDS_MAX):
            before = self._marks()
            self.clock.advance(LONGEST_PAUSE_MS)
            for relay in self.relays:
                while await self.step(relay):
                    pass
            await self.expiry.sweep()
            await self.allotting.give_back()
            for intent in self.provider.intents.values():
                if intent.captured:  # a provider goes on calling until it is answered
                    await self.call_back(intent.payment_id, "payment.captured", f"evt-captured-{intent.payment_id}")
            await self.payments.reconciling.sweep()
            await self.payments.refunding.sweep()
            quiet = quiet + 1 if self._marks() == before else 0
            if quiet == 2:
                break
        else:
            raise AssertionError("the shop does not come to rest")
        await self.flash_sale.live.refresh()

    def _marks(self) -> list[Any]:
        return [
            *(self.one(name, "SELECT coalesce(max(seq), 0) FROM outbox") for name in HISTORIES),
            *(self.one(name, "SELECT count(*) FROM parked_events") for name in HISTORIES),
            self.one("payments", "SELECT count(*) FROM payments WHERE status IN ('in_progress', 'pending')"),
        ]

    async def checks(self) -> Sequence[Check]:
        """Every context's own books, and what must agree between them."""
        found: list[Check] = []
        for books in (self.inventory, self.flash_sale, self.orders, self.payments):
            found += await books.audit()
        flows = Flows(
            claims_to_orders=self._flows["orders.claims"],
            payments_to_orders=self._flows["orders.payments"],
            orders_to_payments=self._flows["payments.refunds"],
            orders_to_flash_sale=self._flows["flash_sale.releases"],
        )
        found += await check_between(self.flash_sale, self.orders, self.payments, flows)
        stock_flows = StockFlows(
            orders_to_inventory=self._flows["inventory.orders"],
            sales_to_inventory=self._flows["inventory.sales"],
            inventory_to_orders=self._flows["orders.lost-holds"],
        )
        found += await check_stock(self.inventory, self.orders, self.flash_sale, stock_flows)
        return found
