"""Runtime settings over HTTP, for admins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.configuration.model import REASON_MAX, Wish
from doorbuster.contexts.configuration.service import TOPIC, ConfigurationService
from doorbuster.contexts.configuration.views import ChangePage, ChangeView, OneSettingView, SettingsView
from doorbuster.platform.http.faces import AnyRequest, allow, principal_of
from doorbuster.platform.http.live import MEDIA_TYPE, STREAMS, EventStream, event_stream, last_event_id
from doorbuster.platform.settings.config_store import BATCH_MAX
from doorbuster.platform.settings.rollout import LABELS_MAX, Entry, Percent, Rollout
from doorbuster.platform.settings.tree import Label
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

FIELDS_MAX = 200
Version = Annotated[int, Meta(ge=0, le=2**53)]
Reason = Annotated[str, Meta(min_length=1, max_length=REASON_MAX, pattern=r"^[^\x00-\x1f\x7f\ud800-\udfff]*\Z")]
FieldsBody = Annotated[dict[str, Any], Meta(max_length=FIELDS_MAX)]
Key = Annotated[str, Meta(min_length=1, max_length=100)]


class RolloutBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Callers with one of `labels`, and `percent` of the others, get `value`."""

    value: FieldsBody
    percent: Percent = 0.0
    labels: Annotated[list[Label], Meta(max_length=LABELS_MAX)] = []


class SettingBody(Struct, frozen=True, forbid_unknown_fields=True):
    """`value`: the fields that differ from the default; null takes everything back to the default."""

    key: Key
    value: FieldsBody | None
    rollout: RolloutBody | None = None

    def wish(self) -> Wish:
        if self.value is None and self.rollout is None:
            return Wish(self.key, None)
        given = self.rollout
        rollout = None if given is None else Rollout(given.value, given.percent, tuple(given.labels))
        return Wish(self.key, Entry(self.value or {}, rollout))


class ChangeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """`version`: what was looked at. If it is not the current one any more, nothing is changed."""

    version: Version
    reason: Reason
    changes: Annotated[list[SettingBody], Meta(min_length=1, max_length=BATCH_MAX)]


class RollbackBody(Struct, frozen=True, forbid_unknown_fields=True):
    """`to`: the version to go back to; without it, the last change is undone."""

    version: Version
    reason: Reason
    to: Version | None = None


def routes(service: ConfigurationService) -> list[ControllerRouterHandler]:
    return [*_showing(service), *_changing(service), *_history(service)]


def _showing(service: ConfigurationService) -> list[ControllerRouterHandler]:
    @get("/v1/config", guards=[allow("admin")], tags=["configuration"], summary="All runtime settings")
    async def list_settings(request: AnyRequest) -> SettingsView:
        return SettingsView.of(await service.overview(principal_of(request)))

    @get(
        "/v1/config/settings/{key:str}",
        guards=[allow("admin")],
        tags=["configuration"],
        summary="One group of runtime settings, with its schema",
    )
    async def get_setting(request: AnyRequest, key: FromPath[str]) -> OneSettingView:
        return OneSettingView.of(*await service.group(principal_of(request), key))

    return [list_settings, get_setting]


def _changing(service: ConfigurationService) -> list[ControllerRouterHandler]:
    @put("/v1/config", guards=[allow("admin")], tags=["configuration"], summary="Change settings, all or none of them")
    async def change_settings(request: AnyRequest, data: JSONBody[ChangeBody]) -> ChangeView:
        wishes = [each.wish() for each in data.changes]
        return ChangeView.of(await service.change(principal_of(request), data.version, data.reason, wishes))

    @post(
        "/v1/config/rollback",
        status_code=200,
        guards=[allow("admin")],
        tags=["configuration"],
        summary="Go back to an earlier version, as a new one",
    )
    async def roll_settings_back(request: AnyRequest, data: JSONBody[RollbackBody]) -> ChangeView:
        return ChangeView.of(await service.roll_back(principal_of(request), data.version, data.to, data.reason))

    return [change_settings, roll_settings_back]


def _history(service: ConfigurationService) -> list[ControllerRouterHandler]:
    @get("/v1/config/changes", guards=[allow("admin")], tags=["configuration"], summary="Changes, newest first")
    async def list_changes(
        request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> ChangePage:
        before = decode_cursor(cursor) if cursor is not None else None
        page = await service.history(principal_of(request), before, checked_limit(limit))
        items = [ChangeView.of(change) for change in page.items]
        return ChangePage(items, None if page.next_after is None else encode_cursor(page.next_after))

    @get(
        "/v1/config/changes/live",
        guards=[allow("admin")],
        media_type=MEDIA_TYPE,
        opt={STREAMS: (ChangeView,)},
        tags=["configuration"],
        summary="Changes as they are made (server-sent events); without a cursor, from now on",
    )
    async def watch_changes(request: AnyRequest) -> EventStream:
        principal = principal_of(request)
        now = (await service.overview(principal)).version

        async def read(after: int, limit: int) -> Sequence[tuple[int, bytes]]:
            changes = await service.changes_after(principal, after, limit)
            return [(change.version, msgspec.json.encode(ChangeView.of(change))) for change in changes]

        return event_stream(request, service.hub, TOPIC, read, last_event_id(request, now))

    return [list_changes, watch_changes]
