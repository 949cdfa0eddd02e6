"""Builds notifications."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from doorbuster.contexts.notifications import store
from doorbuster.contexts.notifications.addressing import Addressing
from doorbuster.contexts.notifications.channels import Way
from doorbuster.contexts.notifications.events import consumers
from doorbuster.contexts.notifications.housekeeping import Housekeeping
from doorbuster.contexts.notifications.mailing import Mailing
from doorbuster.contexts.notifications.model import KINDS, Endpoint
from doorbuster.contexts.notifications.outgoing import Policy, Resolve, resolve_by_system
from doorbuster.contexts.notifications.resilience import CHANNELS, WEBHOOKS, Guarded
from doorbuster.contexts.notifications.sending import Sender
from doorbuster.contexts.notifications.service import NAME, NotificationsService
from doorbuster.contexts.notifications.templates import Writer
from doorbuster.contexts.notifications.webhooks import Webhooks
from doorbuster.contexts.notifications.wecom import WeCom
from doorbuster.contracts.accounts import Accounts
from doorbuster.contracts.notifications import Channel
from doorbuster.contracts.orders import Orders
from doorbuster.platform.bus.hub import Hub, OutboxChanges
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.neighbour import Neighbour
from doorbuster.platform.settings.tree import NotificationsSettings, WrongSetting
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.notifications.migrations")


@dataclass(frozen=True)
class NotificationsContext:
    service: NotificationsService
    addressing: Addressing
    sender: Sender
    housekeeping: Housekeeping
    context: Context
    close: Callable[[], Awaitable[None]]


def build(
    platform: Platform,
    database: Database,
    accounts: Accounts,
    orders: Orders,
    resolve: Resolve = resolve_by_system,
    dice: Callable[[], float] = random.random,
) -> NotificationsContext:
    """`resolve` and `dice` (0..1, for pauses) are replaced by tests only. Raises WrongSetting."""
    settings = platform.settings.notifications
    writer = Writer(settings.shop_name, _checked_zone(settings))
    policy = Policy(local=settings.webhook_local)

    async def find(endpoint_id: int) -> Endpoint | None:
        return await database.read(lambda tx: store.endpoint(tx, endpoint_id))

    on_hosts, on_channels = platform.runtime.live(WEBHOOKS), platform.runtime.live(CHANNELS)

    def at_host(host: str) -> Neighbour:
        return platform.neighbours.get("notifications.webhooks", host, on_hosts)

    def guarded(channel: Channel, way: Way) -> Way:
        return Guarded(way, platform.neighbours.get(f"notifications.{channel}", settings=on_channels))

    webhooks = Webhooks(find, policy, resolve, platform.clock, settings.send_timeout_s, at_host)
    ways: dict[Channel, Way] = {"webhook": webhooks}
    if settings.smtp_host:
        ways["email"] = guarded("email", Mailing(settings))
    if settings.wecom_url:
        ways["wecom"] = guarded("wecom", WeCom(settings))
    hub = Hub(NAME, platform.wakeups, OutboxChanges(database))
    service = NotificationsService(platform, database, hub, policy, resolve)
    addressing = Addressing(platform, database, accounts, orders, writer, dice)
    sender = Sender(platform, database, ways, dice)
    housekeeping = Housekeeping(platform, database)

    def faces() -> Faces:
        from doorbuster.contexts.notifications import http

        return Faces(http.routes(service), live_routes=http.live_routes(service))

    context = Context(
        name=NAME,
        database=database,
        history=HISTORY,
        faces=faces,
        consumers=consumers(),
        tasks=(
            BackgroundTask("notifications-addressing", "back", addressing.run),
            BackgroundTask("notifications-sending", "back", sender.run),
            BackgroundTask("notifications-housekeeping", "back", housekeeping.run),
        ),
        keeps_idempotency_keys=True,
    )
    return NotificationsContext(service, addressing, sender, housekeeping, context, sender.close)


def _checked_zone(settings: NotificationsSettings) -> ZoneInfo:
    """The time zone, after a look at what belongs together. Raises WrongSetting."""
    if settings.smtp_host and not settings.mail_from:
        raise WrongSetting("notifications.mail_from", "e-mail needs a sender's address")
    if settings.smtp_user and settings.smtp_tls == "none" and not _is_loopback(settings.smtp_host):
        raise WrongSetting("notifications.smtp_tls", "a password is not sent without encryption")
    unknown = set(settings.wecom_kinds).difference(KINDS)
    if unknown:
        raise WrongSetting("notifications.wecom_kinds", f"there is no {', '.join(sorted(unknown))}")
    try:
        return ZoneInfo(settings.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongSetting("notifications.time_zone", "not a time zone of the IANA database") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
