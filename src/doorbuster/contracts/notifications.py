"""Notifications: who is told what, and by which way."""

from __future__ import annotations

from typing import Literal

from doorbuster.kernel.errors import Conflict, Invalid, NotFound
from doorbuster.kernel.events import Event

Channel = Literal["email", "webhook", "wecom", "push"]


class NotificationNotFound(NotFound):
    slug = "notification-not-found"
    title = "There is no such notification"


class EndpointNotFound(NotFound):
    slug = "webhook-endpoint-not-found"
    title = "There is no such endpoint"


class TooManyEndpoints(Conflict):
    slug = "too-many-webhook-endpoints"
    title = "This account has as many endpoints as it may have"


class EndpointRefused(Invalid):
    """An address that outgoing webhooks do not go to: not https, a private or reserved network, credentials in it."""

    slug = "webhook-endpoint-refused"
    title = "Webhooks cannot be sent to this address"


class Notified(Event, frozen=True, tag="notifications.notified"):
    """There is something new in an account's stream of in-app notifications, under `number` (1, 2, 3, …)."""

    account_id: int
    number: int

    @property
    def aggregate_id(self) -> int:
        return self.account_id
