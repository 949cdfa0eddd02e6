"""A waiting room before a real flash sale, both on each database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from conftest import NOW_MS, OpenDatabase
from doorbuster.contexts.flash_sale import wiring as flash_sale
from doorbuster.contexts.waiting_room import wiring
from doorbuster.contexts.waiting_room.events import mark_used
from doorbuster.contexts.waiting_room.service import Standing
from doorbuster.contexts.waiting_room.tables import tickets
from doorbuster.contracts.catalog import SkuFacts
from doorbuster.contracts.flash_sale import AdmissionUsed, Claim, ClaimRequest, SaleProposal
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.events import Envelope
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.http.admissions import AdmissionKeys
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.sql.database import Database
from settings_groups import stored

MERCHANT = Principal(77, "merchant")
SKU = SkuFacts(9, 8, MERCHANT.account_id, "TEA-1", "Tea 茶", Money(1990, "CNY"), active=True)
OPENS_MS = NOW_MS + 60_000
DRAWN_MS = 61_000
"""From the beginning to the first tick that draws."""


class OneSku:
    async def sku(self, sku_id: int) -> SkuFacts:
        assert sku_id == SKU.sku_id
        return SKU


class Warehouse:
    async def allot(self, sale_id: int, sku_id: int, units: int) -> None: ...


def customer(number: int) -> Principal:
    return Principal(1_000 + number, "customer")


@dataclass
class House:
    platform: Platform
    clock: ManualClock
    keys: AdmissionKeys
    sale: flash_sale.FlashSaleContext
    sale_database: Database
    room: wiring.WaitingRoomContext
    room_database: Database

    async def guarded_sale(self, units: int = 100, limit: int = 2) -> int:
        proposal = SaleProposal(SKU.sku_id, units, Money(990, "CNY"), limit, OPENS_MS, OPENS_MS + 3_600_000, 60_000)
        sale = await self.sale.service.create_sale(MERCHANT, f"sale-{self.platform.ids.next()}", proposal)
        await self.room.service.switch(MERCHANT, sale.terms.sale_id, enabled=True)
        return sale.terms.sale_id

    def set(self, version: int, **fields: object) -> None:
        self.platform.runtime.apply(stored(version, {"waiting_room": fields}))

    async def tick(self, after_ms: int = 1_000) -> int:
        self.clock.advance(after_ms)
        return await self.room.releaser.tick()

    async def standing(self, number: int, sale_id: int) -> Standing:
        self.clock.advance(2_001)  # older than what the process remembers
        return await self.room.service.mine(customer(number), sale_id)

    async def claim(self, sale_id: int, customer_id: int, token: str | None, key: str = "k") -> Claim:
        admission = None if token is None else self.keys.verify(token.encode())
        return await self.sale.service.claim(ClaimRequest(sale_id, customer_id, key, 1, admission))

    async def hear_of_claims(self) -> None:
        """What the relay does: every admission that was told, again and again."""
        rows = await self.sale_database.read(
            lambda tx: tx.execute(sa.select(outbox).where(outbox.c.type == "flash_sale.admission-used")).all()
        )
        told = [
            Envelope("flash_sale", row.seq, row.at_ms, msgspec.json.decode(row.payload, type=AdmissionUsed))
            for row in rows
        ]
        if told:
            await self.room_database.write(lambda tx: mark_used(tx, told))

    async def tickets(self, sale_id: int) -> Sequence[sa.Row[Any]]:
        statement = sa.select(tickets).where(tickets.c.sale_id == sale_id).order_by(tickets.c.place, tickets.c.number)
        return await self.room_database.read(lambda tx: tx.execute(statement).all())

    async def audit(self) -> dict[str, tuple[str, ...]]:
        checks = [*await self.room.service.audit(), *await self.sale.service.audit()]
        return {check.name: check.breaches for check in checks if check.verdict != "holds"}


@pytest.fixture
async def house(platform: Platform, clock: ManualClock, open_database: OpenDatabase) -> House:
    keys = AdmissionKeys([Key("k1", b"x" * 32)])
    of_sale = await open_database("flash_sale", "doorbuster.contexts.flash_sale.migrations")
    sale = flash_sale.build(platform, of_sale, OneSku(), Warehouse(), admissions=keys)
    of_room = await open_database("waiting_room", "doorbuster.contexts.waiting_room.migrations")
    seeds = iter(range(1_000))
    room = wiring.build(platform, of_room, sale.service, keys, lambda: hashlib.sha256(b"%d" % next(seeds)).digest())
    return House(platform, clock, keys, sale, of_sale, room, of_room)
