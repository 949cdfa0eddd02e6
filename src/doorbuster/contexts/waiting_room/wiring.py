"""Builds the waiting room."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from doorbuster.contexts.waiting_room.events import consumers
from doorbuster.contexts.waiting_room.known import KnownRooms
from doorbuster.contexts.waiting_room.releasing import NAME, Releaser
from doorbuster.contexts.waiting_room.service import WaitingRoomService
from doorbuster.contracts.flash_sale import GuardsSales
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.http.admissions import AdmissionKeys
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.waiting_room.migrations")


@dataclass(frozen=True)
class WaitingRoomContext:
    service: WaitingRoomService
    releaser: Releaser
    context: Context


def build(
    platform: Platform,
    database: Database,
    sales: GuardsSales,
    admissions: AdmissionKeys,
    new_seed: Callable[[], bytes] = lambda: secrets.token_bytes(32),
) -> WaitingRoomContext:
    known = KnownRooms(database, platform.clock)
    hub = Hub(NAME, platform.wakeups, known)
    known.topics = lambda: hub.topics
    service = WaitingRoomService(platform, database, sales, admissions, known, hub, new_seed)
    releaser = Releaser(platform, database, sales)

    def faces() -> Faces:
        from doorbuster.contexts.waiting_room.http import rest

        return Faces(rest.routes(service, releaser.outages), [rest.ticket_route(service)])

    return WaitingRoomContext(
        service,
        releaser,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            consumers=consumers(),
            # Beside the claims, whose pace it measures, and in the one writer of its own rows.
            consumers_room="front",
            tasks=(BackgroundTask("waiting-room-releaser", "front", releaser.run),),
        ),
    )
