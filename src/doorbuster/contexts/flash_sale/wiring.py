"""Builds the flash sale."""

from __future__ import annotations

from dataclasses import dataclass

from doorbuster.contexts.flash_sale.events import consumers
from doorbuster.contexts.flash_sale.service import NAME, FlashSaleService
from doorbuster.contexts.flash_sale.warming import Warming
from doorbuster.contracts.catalog import Catalog, Showcase
from doorbuster.contracts.inventory import Allots
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.http.admissions import AdmissionKeys
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.flash_sale.migrations")


@dataclass(frozen=True)
class FlashSaleContext:
    service: FlashSaleService
    context: Context


def build(
    platform: Platform,
    database: Database,
    catalog: Catalog,
    inventory: Allots,
    *,
    showcase: Showcase | None = None,
    admissions: AdmissionKeys | None = None,
) -> FlashSaleContext:
    """Without a `showcase` nobody is told that a sale is about to open.
    `admissions`: the keys that the waiting room signs with; without them no admission is good."""
    service = FlashSaleService(platform, database, catalog, inventory)
    tasks = [
        BackgroundTask("flash-sale-watch", "front", service.live.watch),
        BackgroundTask("flash-sale-holders", "front", service.live.watch_holders),
        BackgroundTask("flash-sale-allotting", "front", service.allotting.run),
    ]
    if showcase is not None:
        tasks.append(BackgroundTask("flash-sale-warming", "front", Warming(database, showcase, platform.clock).run))

    def faces() -> Faces:
        from doorbuster.contexts.flash_sale import http

        timeout_s = platform.settings.http.request_timeout_s
        return Faces(http.routes(service, platform.clock), [http.claim_route(service, timeout_s, admissions)])

    return FlashSaleContext(
        service,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            consumers=consumers(platform.clock),
            # Releases meet claims in the one writer of the sale's process.
            consumers_room="front",
            tasks=tuple(tasks),
            keeps_idempotency_keys=True,
        ),
    )
