"""Waiting room: whoever comes to a sale that has one is let in by turns, at the pace that the claim path can carry."""

from __future__ import annotations

from typing import Literal

from doorbuster.kernel.errors import Conflict, NotFound

TicketState = Literal["waiting", "admitted", "used", "expired"]


class RoomNotFound(NotFound):
    """The sale does not exist, or is entered directly."""

    slug = "waiting-room-not-found"
    title = "This sale has no waiting room"


class TicketNotFound(NotFound):
    slug = "ticket-not-found"
    title = "This customer has no ticket for this sale"


class RoomClosed(Conflict):
    slug = "waiting-room-closed"
    title = "The sale is over; there is nothing to wait for"


class RoomFull(Conflict):
    slug = "waiting-room-full"
    title = "This waiting room takes no more people"
