"""From raw requests to checked values."""

from __future__ import annotations

import datetime
import re
from typing import TypeVar
from urllib.parse import parse_qs

import msgspec

from doorbuster.lab.payment_simulator.errors import InvalidRequestError, MalformedRequestError
from doorbuster.lab.payment_simulator.exchange import Request
from doorbuster.lab.payment_simulator.messages import STATEMENT_LIMIT_MAX, ConfirmRequest
from doorbuster.lab.payment_simulator.statement import Bounds

T = TypeVar("T")

STATEMENT_LIMIT_DEFAULT = 100
QUERY_FIELDS_MAX = 16

_LIMIT = re.compile(r"[0-9]{1,6}")


def read_json(request: Request, kind: type[T]) -> T:
    """The body as ``kind``.

    Raises:
        MalformedRequestError: not JSON.
        InvalidRequestError: JSON of another shape, or a value out of bounds.
    """
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequestError("the body is not JSON") from error
    except RecursionError as error:
        raise MalformedRequestError("the body is nested too deeply") from error


def is_form(request: Request) -> bool:
    """Whether a browser's form sent it; ``curl -d`` says the same of JSON, which the brace gives away."""
    kind = request.content_type.partition(";")[0].strip().lower()
    return kind == "application/x-www-form-urlencoded" and not request.body.lstrip().startswith(b"{")


def read_form_outcome(request: Request) -> ConfirmRequest:
    """The choice a person made on the checkout page.

    Raises:
        MalformedRequestError, InvalidRequestError: as ``read_json``.
    """
    fields = _read_fields(request.body.decode("latin-1"))
    try:
        return msgspec.convert({"outcome": fields.get("outcome")}, ConfirmRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error)) from error


def read_page_bounds(request: Request) -> tuple[str | None, int]:
    """``after`` and ``limit`` of a listing.

    Raises:
        MalformedRequestError: the query cannot be read.
        InvalidRequestError: the limit is not 1..``STATEMENT_LIMIT_MAX``.
    """
    fields = _read_fields(request.query)
    text = fields.get("limit", str(STATEMENT_LIMIT_DEFAULT))
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= STATEMENT_LIMIT_MAX:
        raise InvalidRequestError(f"limit is 1 to {STATEMENT_LIMIT_MAX}")
    return fields.get("after"), int(text)


def read_time_bounds(request: Request) -> Bounds:
    """``from`` and ``until`` of a listing, RFC 3339.

    Raises:
        MalformedRequestError: the query cannot be read.
        InvalidRequestError: not a time with an offset.
    """
    fields, everything = _read_fields(request.query), Bounds()
    return Bounds(
        _milliseconds(fields["from"]) if "from" in fields else everything.from_ms,
        _milliseconds(fields["until"]) if "until" in fields else everything.until_ms,
    )


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(text)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError("from and until are RFC 3339 times") from error


def _read_fields(text: str) -> dict[str, str]:
    try:
        parsed = parse_qs(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError as error:
        raise MalformedRequestError(f"more than {QUERY_FIELDS_MAX} fields") from error
    repeated = sorted(name for name, values in parsed.items() if len(values) > 1)
    if repeated:
        raise InvalidRequestError("a field is given more than once")
    return {name: values[0] for name, values in parsed.items()}
