"""Runtime settings over HTTP, for admins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.configuration.model import REASON_MAX, Group, Overview, Wish
from doorbuster.contexts.configuration.service import TOPIC, ConfigurationService
from doorbuster.kernel.clock import rfc3339
from doorbuster.platform.http.faces import AnyRequest, TimeText, allow, principal_of
from doorbuster.platform.http.live import MEDIA_TYPE, EventStream, event_stream, last_event_id
from doorbuster.platform.settings.config_store import BATCH_MAX, Change
from doorbuster.platform.settings.rollout import LABELS_MAX, Entry, Percent, Rollout
from doorbuster.platform.settings.tree import Label
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

FIELDS_MAX = 200
Version = Annotated[int, Meta(ge=0, le=2**53)]
Reason = Annotated[str, Meta(min_length=1, max_length=REASON_MAX, pattern=r"^[^\x00-\x1f\x7f\ud800-\udfff]*\Z")]
FieldsBody = Annotated[dict[str, Any], Meta(max_length=FIELDS_MAX)]
Key = Annotated[str, Meta(min_length=1, max_length=100)]
BY_COMMAND_LINE = "operator"


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


class EntryView(Struct, frozen=True):
    """`value`: the fields somebody has set; `rollout`: those that a part of the callers get."""

    value: dict[str, Any]
    rollout: Rollout | None

    @classmethod
    def of(cls, entry: Entry | None) -> EntryView | None:
        return None if entry is None else cls(entry.value, entry.rollout)


class SettingView(Struct, frozen=True):
    """`in_force` is what the server that answers has; `problem` says why that is not what is stored."""

    key: str
    stored: EntryView | None
    in_force: dict[str, Any] | None
    default: dict[str, Any] | None
    problem: str | None

    @classmethod
    def of(cls, group: Group) -> SettingView:
        default = None if group.declared is None else _fields(group.declared.default)
        in_force = None if group.in_force is None else _fields(group.in_force)
        return cls(group.name, EntryView.of(group.entry), in_force, default, group.problem or None)


class SettingsView(Struct, frozen=True):
    version: int
    version_in_force: int
    items: list[SettingView]

    @classmethod
    def of(cls, overview: Overview) -> SettingsView:
        items = [SettingView.of(group) for group in overview.groups]
        return cls(overview.version, overview.version_in_force, items)


class OneSettingView(Struct, frozen=True):
    """With the JSON schema of its fields."""

    version: int
    setting: SettingView
    json_schema: dict[str, Any] | None


class DifferenceView(Struct, frozen=True):
    key: str
    before: Any
    after: Any


class ChangeView(Struct, frozen=True):
    """`by` is an account, or "operator" for the command line."""

    version: int
    by: str
    at: TimeText
    reason: str
    differences: list[DifferenceView]

    @classmethod
    def of(cls, change: Change) -> ChangeView:
        differences = [
            DifferenceView(each.name, _shown(each.before), _shown(each.after)) for each in change.differences
        ]
        by = str(change.by) if change.by else BY_COMMAND_LINE
        return cls(change.version, by, rfc3339(change.at_ms), change.reason, differences)


class ChangePage(Struct, frozen=True):
    items: list[ChangeView]
    next_cursor: str | None


def _fields(value: Struct) -> dict[str, Any]:
    return msgspec.to_builtins(value)


def _shown(stored: bytes | None) -> Any:
    """What is stored, also what no version wrote that we know."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored)
    except msgspec.DecodeError:
        return stored.decode("utf-8", "replace")


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
        version, group = await service.group(principal_of(request), key)
        schema = None if group.declared is None else msgspec.json.schema(group.declared.type)
        return OneSettingView(version, SettingView.of(group), schema)

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
