"""What is sold here: one SKU, in sales that do not sell out."""

from __future__ import annotations

from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contracts.catalog import SkuFacts, SkuNotFound
from doorbuster.contracts.flash_sale import QUANTITY_MAX, UNITS_MAX, SaleProposal
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import Settings

MERCHANT = Principal(77, "merchant")
SKU = SkuFacts(9, 8, MERCHANT.account_id, "LAMP-1", "Desk lamp / 台灯", Money(19900, "CNY"), active=True)
DAY_MS = 24 * 3600 * 1000
WORKER = 1


class OneSku:
    """The neighbour as the contract shows it: a catalogue that has one SKU."""

    async def sku(self, sku_id: int) -> SkuFacts:
        """Raises SkuNotFound."""
        if sku_id != SKU.sku_id:
            raise SkuNotFound
        return SKU


class Plenty:
    """A warehouse with as many units as anybody asks for: what a bench of claims does not measure."""

    async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
        """See contracts.inventory.Allots."""


def platform_of(settings: Settings) -> Platform:
    """Real time and ids, for the one process that writes to a bench's database."""
    clock = SystemClock()
    return Platform(settings, clock, Snowflake(clock, WORKER), Wakeups())


async def open_sale(service: FlashSaleService, name: str, units: int = UNITS_MAX) -> int:
    """A sale that is open for a day, at the greatest limit a customer may have; its id."""
    now_ms = SystemClock().now_ms()
    proposal = SaleProposal(SKU.sku_id, units, SKU.price, QUANTITY_MAX, now_ms - 1, now_ms + DAY_MS, 900_000)
    return (await service.create_sale(MERCHANT, name, proposal)).terms.sale_id
