"""Builds support."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from doorbuster.contexts.support.desk import Desk
from doorbuster.contexts.support.service import NAME, SupportService
from doorbuster.platform.bus.hub import Hub, OutboxChanges
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.support.migrations")


@dataclass(frozen=True)
class SupportContext:
    service: SupportService
    desk: Desk
    context: Context


def build(platform: Platform, database: Database) -> SupportContext:
    """One hub for all sockets of the process."""
    hub = Hub(NAME, platform.wakeups, OutboxChanges(database, topics_of))
    desk = Desk(platform, database)
    service = SupportService(platform, database, hub, desk)

    def faces() -> Faces:
        from doorbuster.contexts.support.http import live, rest

        return Faces(rest.routes(service), live_routes=(live.live_route(service),))

    return SupportContext(
        service,
        desk,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            tasks=(BackgroundTask("support-unanswered", "back", desk.run),),
            keeps_idempotency_keys=True,
        ),
    )


class _Concerned(Struct):
    """What a hub needs of any event of this context."""

    conversation_id: int
    concerns: tuple[int, ...] = ()


_concerned = msgspec.json.Decoder(_Concerned)


def topics_of(row: Any) -> Collection[int]:
    """The conversation, and the people whom a change of it concerns. Ids of both are of one series, so never alike."""
    event = _concerned.decode(row.payload)
    return (event.conversation_id, *event.concerns)
