"""Bodies, read strictly: our content type, UTF-8, and the types of the schema as they are.

The framework would read JSON of any content type, take "5" for 5 and "true" for true, and fail on a deep nesting.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.handlers import BaseRouteHandler

from doorbuster.platform.http.problems import InvalidBody, MalformedJson, UnsupportedMediaType
from doorbuster.platform.http.raw import Scope, header

MEDIA_TYPE = b"application/json"
BODIES_MAX = 256
"""Kinds of bodies whose decoders are kept; there are as many as routes that take one."""


class JsonRequest(Request[Any, Any, Any]):
    """What the handlers get as their request."""

    async def json(self) -> Any:
        """The body as the handler's `data` declares it.

        Raises UnsupportedMediaType, MalformedJson, InvalidBody, BodyTooLarge, ClientGone.
        """
        check_media_type(header(cast(Scope, self.scope), b"content-type"))
        return decode_body(await self.body(), _body_type(self.route_handler))


def decode_body(body: bytes, body_type: Any) -> Any:
    """Raises MalformedJson, InvalidBody."""
    try:
        return _decoder(body_type).decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBody(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson from error


@lru_cache(BODIES_MAX)
def _decoder(body_type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(body_type)


def _body_type(handler: BaseRouteHandler) -> Any:
    field = handler.parsed_data_field
    return Any if field is None else field.annotation


def check_media_type(declared: bytes | None) -> None:
    """Raises UnsupportedMediaType. Without a declaration the body is taken for JSON."""
    if declared is None or declared == MEDIA_TYPE:
        return
    media_type, *parameters = (part.strip() for part in declared.lower().split(b";"))
    if media_type != MEDIA_TYPE:
        raise UnsupportedMediaType
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name == b"charset" and value.strip(b'"') not in (b"utf-8", b"utf8"):
            raise UnsupportedMediaType
