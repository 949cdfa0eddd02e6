"""A flash sale and the warehouse that its units come from, both real, each on its own database."""

from __future__ import annotations

from dataclasses import dataclass

from contexts.flash_sale.conftest import MERCHANT, OneSku
from doorbuster.contexts.flash_sale import wiring as flash_sale
from doorbuster.contexts.flash_sale.model import Sale
from doorbuster.contexts.inventory import wiring as inventory
from doorbuster.contracts.flash_sale import SaleProposal
from doorbuster.platform.bus.relay import Relay
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database


@dataclass
class TwoSides:
    sale: flash_sale.FlashSaleContext
    warehouse: inventory.InventoryContext
    relay: Relay

    async def create(self, proposal: SaleProposal) -> Sale:
        return await self.sale.service.create_sale(MERCHANT, "k", proposal)

    async def take_over(self) -> None:
        """What the warehouse's relay does about returns, to the end."""
        while await self.relay.step():
            pass
        await self.relay.retry_parked()


def two_sides(platform: Platform, of_sale: Database, of_warehouse: Database) -> TwoSides:
    warehouse = inventory.build(platform, of_warehouse, OneSku())
    sale = flash_sale.build(platform, of_sale, OneSku(), warehouse.service)
    (consumer,) = [each for each in warehouse.context.consumers if each.source == "flash_sale"]
    relay = Relay(of_sale, of_warehouse, consumer, platform.wakeups, platform.clock)
    return TwoSides(sale, warehouse, relay)
