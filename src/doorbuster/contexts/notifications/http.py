"""The REST face of notifications, and their live stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import delete, get, post, put
from litestar.datastructures import ResponseHeader
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.notifications.model import DEFAULTS, KINDS, Choice, DeadMessage, Endpoint, Kind, Locale, Pushed
from doorbuster.contexts.notifications.model import Preferences as Wishes
from doorbuster.contexts.notifications.outgoing import URL_MAX
from doorbuster.contexts.notifications.service import NotificationsService, Stream, streamed
from doorbuster.contracts.notifications import Channel
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.principal import ROLES
from doorbuster.platform.http.faces import AnyRequest, IdText, TimeText, allow, idempotency_key_of, principal_of
from doorbuster.platform.http.live import (
    MEDIA_TYPE,
    STREAMS,
    EventStream,
    LiveRoute,
    LiveSocket,
    ReadAfter,
    event_stream,
    last_event_id,
    stream,
)
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

PRIVATE = [ResponseHeader(name="Cache-Control", value="no-store")]
Number = Annotated[int, Meta(ge=0, le=2**53, description="One's notifications are numbered 1, 2, 3, …")]
UrlText = Annotated[str, Meta(min_length=1, max_length=URL_MAX, pattern=r"^https?://[!-~]+$")]
Choices = Annotated[list[Choice], Meta(max_length=2)]


class NotificationItem(Struct, frozen=True):
    """A notification as a live stream tells it. `about` holds ids and amounts of what it is about, by kind."""

    number: Number
    event_id: str
    kind: str
    title: str
    text: str
    about: dict[str, Any]
    at: TimeText


class NotificationView(NotificationItem, frozen=True):
    """One of one's notifications."""

    read: bool

    @classmethod
    def of(cls, pushed: Pushed, read_to: int) -> NotificationView:
        content = msgspec.json.decode(pushed.content)
        return cls(number=pushed.number, read=pushed.number <= read_to, **content)


class NotificationPage(Struct, frozen=True):
    """Newest first. `last` is the number to begin a live stream behind."""

    items: list[NotificationView]
    unread: Number
    last: Number
    next_cursor: str | None

    @classmethod
    def of(cls, found: Stream) -> NotificationPage:
        after = found.page.next_after
        items = [NotificationView.of(pushed, found.read_to) for pushed in found.page.items]
        return cls(items, found.unread, found.last, None if after is None else encode_cursor(after))


class NotificationsReadBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything up to this number has been read."""

    number: Number


class ReadView(Struct, frozen=True):
    unread: Number
    read_to: Number


class PreferencesBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Kinds that are not named keep their defaults; an empty list silences a kind."""

    locale: Locale
    channels: Annotated[dict[Kind, Choices], Meta(max_length=len(KINDS))] = {}

    def wishes(self) -> Wishes:
        return Wishes(self.locale, {kind: tuple(dict.fromkeys(chosen)) for kind, chosen in self.channels.items()})


class PreferencesView(Struct, frozen=True):
    """The channels of every kind, as they apply."""

    locale: Locale
    channels: dict[str, list[Choice]]

    @classmethod
    def of(cls, wishes: Wishes) -> PreferencesView:
        return cls(wishes.locale, {kind: list(wishes.chosen(kind)) for kind in DEFAULTS})


class EndpointBody(Struct, frozen=True, forbid_unknown_fields=True):
    url: UrlText


class EndpointView(Struct, frozen=True):
    id: IdText
    url: str
    created_at: TimeText

    @classmethod
    def of(cls, endpoint: Endpoint) -> EndpointView:
        return cls(str(endpoint.id), endpoint.url, rfc3339(endpoint.created_ms))


class NewEndpointView(Struct, frozen=True):
    """The secret that signs what is sent there: shown here, and never again."""

    id: IdText
    url: str
    secret: str
    created_at: TimeText

    @classmethod
    def of(cls, endpoint: Endpoint) -> NewEndpointView:
        return cls(str(endpoint.id), endpoint.url, endpoint.secret, rfc3339(endpoint.created_ms))


class EndpointsView(Struct, frozen=True):
    """All of them."""

    items: list[EndpointView]


class DeadView(Struct, frozen=True):
    """`error` is why it was given up."""

    id: IdText
    event_id: str
    channel: Channel
    account_id: IdText
    kind: str
    target: str
    attempts: int
    error: str
    created_at: TimeText

    @classmethod
    def of(cls, message: DeadMessage) -> DeadView:
        return cls(
            str(message.id),
            message.event_id,
            message.channel,
            str(message.account_id),
            message.kind,
            message.target,
            message.attempts,
            message.error,
            rfc3339(message.created_ms),
        )


class DeadPage(Struct, frozen=True):
    items: list[DeadView]
    next_cursor: str | None


class ReplayView(Struct, frozen=True):
    """ "due": it will be sent; "sent": it was, and is left alone."""

    id: IdText
    status: str


def routes(service: NotificationsService) -> list[ControllerRouterHandler]:
    return [
        *_stream_routes(service),
        *_preference_routes(service),
        *_endpoint_routes(service),
        *_operator_routes(service),
    ]


def live_routes(service: NotificationsService) -> Sequence[LiveRoute]:
    async def serve(socket: LiveSocket, _parameter: str) -> None:
        account_id = socket.principal.account_id
        await stream(socket, service.hub, account_id, _reader(service, account_id))

    return [
        LiveRoute(
            "/v1/me/notifications/live",
            ROLES,
            serve,
            "One's own notifications as they come",
            ("notifications",),
            "Items behind `?after=<number>`, then whatever comes.",
            items=(NotificationItem,),
        )
    ]


def _reader(service: NotificationsService, account_id: int) -> ReadAfter:
    async def read(cursor: int, limit: int) -> Sequence[tuple[int, bytes]]:
        return [streamed(pushed) for pushed in await service.pushed_after(account_id, cursor, limit)]

    return read


def _stream_routes(service: NotificationsService) -> list[ControllerRouterHandler]:
    anybody = allow(*ROLES)

    @get(
        "/v1/me/notifications",
        guards=[anybody],
        response_headers=PRIVATE,
        tags=["notifications"],
        summary="One's own notifications, newest first, and how many are unread",
    )
    async def list_notifications(
        request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> NotificationPage:
        before = decode_cursor(cursor) if cursor is not None else None
        return NotificationPage.of(await service.stream(principal_of(request), before, checked_limit(limit)))

    @post(
        "/v1/me/notifications/read",
        status_code=200,
        guards=[anybody],
        tags=["notifications"],
        summary="Mark notifications as read",
    )
    async def read_notifications(request: AnyRequest, data: JSONBody[NotificationsReadBody]) -> ReadView:
        found = await service.read(principal_of(request), data.number)
        return ReadView(found.unread, found.read_to)

    @get(
        "/v1/me/notifications/stream",
        guards=[anybody],
        media_type=MEDIA_TYPE,
        opt={STREAMS: (NotificationItem,)},
        tags=["notifications"],
        summary="One's own notifications as server-sent events",
    )
    async def stream_notifications(request: AnyRequest) -> EventStream:
        account_id = principal_of(request).account_id
        return event_stream(request, service.hub, account_id, _reader(service, account_id), last_event_id(request))

    return [list_notifications, read_notifications, stream_notifications]


def _preference_routes(service: NotificationsService) -> list[ControllerRouterHandler]:
    @get(
        "/v1/me/notification-preferences",
        guards=[allow()],
        response_headers=PRIVATE,
        tags=["notifications"],
        summary="In which language, and by which channels, one is told of what",
    )
    async def get_preferences(request: AnyRequest) -> PreferencesView:
        return PreferencesView.of(await service.preferences(principal_of(request)))

    @put(
        "/v1/me/notification-preferences",
        status_code=200,
        guards=[allow()],
        tags=["notifications"],
        summary="Choose language and channels",
    )
    async def put_preferences(request: AnyRequest, data: JSONBody[PreferencesBody]) -> PreferencesView:
        return PreferencesView.of(await service.prefer(principal_of(request), data.wishes()))

    return [get_preferences, put_preferences]


def _endpoint_routes(service: NotificationsService) -> list[ControllerRouterHandler]:
    merchants = allow("merchant")

    @post(
        "/v1/webhook-endpoints",
        status_code=201,
        guards=[merchants],
        response_headers=PRIVATE,
        tags=["webhooks"],
        summary="Register an address for webhooks",
        description="The answer holds the secret that signs them; it is not shown again.",
    )
    async def add_endpoint(request: AnyRequest, data: JSONBody[EndpointBody]) -> NewEndpointView:
        endpoint = await service.add_endpoint(principal_of(request), idempotency_key_of(request), data.url)
        return NewEndpointView.of(endpoint)

    @get(
        "/v1/webhook-endpoints",
        guards=[merchants],
        response_headers=PRIVATE,
        tags=["webhooks"],
        summary="One's own addresses for webhooks",
    )
    async def list_endpoints(request: AnyRequest) -> EndpointsView:
        return EndpointsView([EndpointView.of(each) for each in await service.endpoints(principal_of(request))])

    @delete(
        "/v1/webhook-endpoints/{endpoint_id:str}",
        status_code=204,
        guards=[merchants],
        tags=["webhooks"],
        summary="Delete an address for webhooks",
    )
    async def delete_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> None:
        await service.delete_endpoint(principal_of(request), parse_id(endpoint_id))

    return [add_endpoint, list_endpoints, delete_endpoint]


def _operator_routes(service: NotificationsService) -> list[ControllerRouterHandler]:
    @get(
        "/v1/notifications/dead",
        guards=[allow("admin")],
        response_headers=PRIVATE,
        tags=["notifications"],
        summary="Messages that could not be sent, newest first",
    )
    async def list_dead(cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT) -> DeadPage:
        before = decode_cursor(cursor) if cursor is not None else None
        page = await service.dead(before, checked_limit(limit))
        after = None if page.next_after is None else encode_cursor(page.next_after)
        return DeadPage([DeadView.of(each) for each in page.items], after)

    @post(
        "/v1/notifications/{notification_id:str}/replay",
        status_code=200,
        guards=[allow("admin")],
        tags=["notifications"],
        summary="Try a dead message again",
    )
    async def replay(notification_id: FromPath[str]) -> ReplayView:
        return ReplayView(notification_id, await service.replay(parse_id(notification_id)))

    return [list_dead, replay]
