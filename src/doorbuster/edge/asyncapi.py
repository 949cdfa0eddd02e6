"""What is told without being asked for, as AsyncAPI 3.0: WebSockets, event streams, and the events between contexts.

Messages are described by the Structs that encode and decode them, as in the OpenAPI document.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from doorbuster import __version__
from doorbuster.kernel.events import Event
from doorbuster.platform.http.faces import roles_of
from doorbuster.platform.http.live import STREAMS, LiveRoute
from doorbuster.platform.http.live.conduct import Auth, Ready
from doorbuster.platform.http.live.socket import Error

_SCHEMAS, _MESSAGES = "#/components/schemas/{name}", "#/components/messages/{name}"


class Channel(NamedTuple):
    """One address. `told` and `heard` are names of messages, seen from the shop."""

    name: str
    content: dict[str, Any]
    told: Sequence[str]
    heard: Sequence[str]


def event_document(routes: Sequence[ControllerRouterHandler], live_routes: Sequence[LiveRoute]) -> dict[str, Any]:
    """The whole document. Events are those that contracts declare and this process has loaded."""
    streams = [handler for handler in cast("Sequence[HTTPRouteHandler]", routes) if STREAMS in handler.opt]
    events = declared_events()
    kinds: list[type[Struct]] = [Auth, Ready, Error, *events]
    kinds += [kind for route in live_routes for kind in (*route.items, *route.told, *route.heard)]
    kinds += [kind for handler in streams for kind in handler.opt[STREAMS]]
    _, schemas = msgspec.json.schema_components(list(dict.fromkeys(kinds)), ref_template=_SCHEMAS)
    messages: dict[str, Any] = {}
    channels = [
        *(_socket(route, messages) for route in live_routes),
        *(_stream(handler, messages) for handler in streams),
        *_outboxes(events, messages),
    ]
    names = [each.name for each in channels]
    assert len(names) == len(set(names)), "two channels have one name"
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Doorbuster",
            "version": __version__,
            "description": "WebSockets and event streams, and the events that contexts tell one another. "
            "How streams are resumed, bounded and closed: docs/live.md.",
        },
        "defaultContentType": "application/json",
        "channels": {each.name: each.content for each in channels},
        "operations": dict(_operations(channels)),
        "components": {"messages": messages, "schemas": schemas},
    }


def declared_events() -> list[type[Event]]:
    """By tag. The tests' own are not among them."""
    kinds = [kind for kind in Event.__subclasses__() if kind.__module__.startswith("doorbuster.contracts.")]
    return sorted(kinds, key=_tag)


def _tag(kind: type[Struct]) -> str:
    return str(kind.__struct_config__.tag)


def _socket(route: LiveRoute, messages: dict[str, Any]) -> Channel:
    told = [_message(kind, messages) for kind in (Ready, Error, *route.told)]
    told += [_item(kind, messages) for kind in route.items]
    heard = [_message(kind, messages) for kind in (Auth, *route.heard)]
    content = _channel(route.path, route.summary, _for_roles(route.description, route.roles), [*told, *heard])
    content["bindings"] = {"ws": {"method": "GET"}}
    return Channel(_name_of(route.path), content, told, heard)


def _stream(handler: HTTPRouteHandler, messages: dict[str, Any]) -> Channel:
    """Each event's `data` is a message, its `id` the cursor."""
    told = [_message(kind, messages) for kind in handler.opt[STREAMS]]
    path = re.sub(r":\w+}", "}", next(iter(handler.paths)))
    words = "Server-sent events: `id` is the cursor, `data` the message."
    content = _channel(path, handler.summary or "", _for_roles(words, roles_of(handler) or ()), told)
    content["bindings"] = {"http": {}}
    return Channel(_name_of(path), content, told, ())


def _outboxes(events: Sequence[type[Event]], messages: dict[str, Any]) -> Iterator[Channel]:
    """A channel for each context that tells something."""
    for source in sorted({_tag(kind).partition(".")[0] for kind in events}):
        told = [_message(kind, messages) for kind in events if _tag(kind).startswith(f"{source}.")]
        words = (
            "The outbox of the context: rows of the transaction that made them true, read in the order of commits; "
            "at least once, in order for what is about the same thing."
        )
        yield Channel(f"events.{source}", _channel(source, f"Events of {source}", words, told), told, ())


def _channel(address: str, title: str, description: str, messages: Sequence[str]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "address": address,
        "title": title,
        "description": description,
        "messages": {name: {"$ref": _MESSAGES.format(name=name)} for name in messages},
    }
    if parameters := re.findall(r"{(\w+)}", address):
        content["parameters"] = {name: {"description": "A 64-bit id in decimal"} for name in parameters}
    return content


def _message(kind: type[Struct], messages: dict[str, Any]) -> str:
    """Adds the message of a Struct; its name."""
    message: dict[str, Any] = {"name": kind.__name__, "payload": {"$ref": _SCHEMAS.format(name=kind.__name__)}}
    if words := _words(kind):
        message["summary"] = words
    assert messages.setdefault(kind.__name__, message) == message, f"two messages are called {kind.__name__}"
    return kind.__name__


def _item(kind: type[Struct], messages: dict[str, Any]) -> str:
    """A row of a stream, as a WebSocket sends it."""
    name = f"{kind.__name__}Item"
    message: dict[str, Any] = {
        "name": name,
        "summary": "A row of the stream; `?after=` the last cursor goes on behind it.",
        "payload": {
            "type": "object",
            "properties": {
                "type": {"enum": ["item"]},
                "cursor": {"type": "string", "pattern": "^[0-9]+$"},
                "item": {"$ref": _SCHEMAS.format(name=kind.__name__)},
            },
            "required": ["type", "cursor", "item"],
        },
    }
    assert messages.setdefault(name, message) == message, f"two messages are called {name}"
    return name


def _operations(channels: Sequence[Channel]) -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in channels:
        for action, names in (("send", channel.told), ("receive", channel.heard)):
            if names:
                yield (
                    f"{channel.name}.{action}",
                    {
                        "action": action,
                        "channel": {"$ref": f"#/channels/{channel.name}"},
                        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{name}"} for name in names],
                    },
                )


def _for_roles(description: str, roles: Sequence[str]) -> str:
    return f"{description} Roles: {', '.join(roles)}.".strip() if roles else description


def _words(kind: type[Struct]) -> str:
    """The first paragraph of its docstring, if it has one of its own."""
    own = kind.__dict__.get("__doc__") or ""
    return " ".join(inspect.cleandoc(own).partition("\n\n")[0].split())


def _name_of(path: str) -> str:
    """/v1/orders/{order_id}/live/socket → orders.live.socket"""
    return ".".join(part for part in path.removeprefix("/v1").split("/") if part and not part.startswith("{"))
