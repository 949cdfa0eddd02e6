"""Builds delivery."""

from __future__ import annotations

from dataclasses import dataclass

from doorbuster.contexts.delivery.events import consumers
from doorbuster.contexts.delivery.knowing import Knowing
from doorbuster.contexts.delivery.parcels import Parcels
from doorbuster.contexts.delivery.riding import Riding
from doorbuster.contexts.delivery.rounds import Dispatcher
from doorbuster.contexts.delivery.service import NAME, DeliveryService
from doorbuster.contexts.delivery.stepping import Steps
from doorbuster.contexts.delivery.sweeping import Sweeper
from doorbuster.contracts.orders import Orders
from doorbuster.platform.bus.hub import Hub, OutboxChanges
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.delivery.migrations")


@dataclass(frozen=True)
class DeliveryContext:
    service: DeliveryService
    dispatcher: Dispatcher
    sweeper: Sweeper
    context: Context


def build(platform: Platform, database: Database, orders: Orders) -> DeliveryContext:
    """One hub for all streams of the process."""
    knowing = Knowing(platform, database, orders)
    steps = Steps(platform, database, orders)
    parcels = Parcels(platform, database, orders, knowing)
    riding = Riding(platform, database, steps)
    hub = Hub(NAME, platform.wakeups, OutboxChanges(database))
    service = DeliveryService(platform, database, knowing, parcels, riding, hub)
    dispatcher = Dispatcher(platform, database)
    sweeper = Sweeper(platform, database, steps, parcels)

    def faces() -> Faces:
        from doorbuster.contexts.delivery.http import live, rest

        return Faces([*rest.routes(service), live.event_route(service)], live_routes=(live.live_route(service),))

    return DeliveryContext(
        service,
        dispatcher,
        sweeper,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            consumers=consumers(platform.clock),
            tasks=(
                BackgroundTask("delivery-dispatcher", "back", dispatcher.run),
                BackgroundTask("delivery-sweeper", "back", sweeper.run),
            ),
            keeps_idempotency_keys=True,
        ),
    )
