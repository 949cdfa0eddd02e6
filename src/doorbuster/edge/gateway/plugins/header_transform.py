"""Header lines taken away and set, on the way there and on the way back."""

from __future__ import annotations

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.settings import HeaderTransform, SetHeader
from doorbuster.platform.http.raw import Headers


def transformed(settings: HeaderTransform, following: Handler) -> Handler:
    request_set, answer_set = _lines(settings.request_set), _lines(settings.answer_set)
    # What is set replaces what was there.
    request_gone = _names(settings.request_remove) | {name for name, _ in request_set}
    answer_gone = _names(settings.answer_remove) | {name for name, _ in answer_set}

    async def transform(exchange: Exchange) -> None:
        if request_gone:
            # In place: the server, the door and whoever else holds the scope see the same.
            headers: Headers = exchange.scope["headers"]
            headers[:] = [*(line for line in headers if line[0] not in request_gone), *request_set]
        exchange.answer_removed |= answer_gone
        exchange.answer_headers += answer_set
        await following(exchange)

    return transform


def _lines(headers: tuple[SetHeader, ...]) -> Headers:
    return [(header.name.lower().encode(), header.value.encode()) for header in headers]


def _names(names: tuple[str, ...]) -> set[bytes]:
    return {name.lower().encode() for name in names}
