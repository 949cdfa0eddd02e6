"""Who presses the button: buyers with their tokens, read from JSON lines."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from .errors import BadBuyersError

LINE_BYTES_MAX = 16 * 1024
BUYERS_MAX = 5_000_000
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Buyer(msgspec.Struct, frozen=True, gc=False):
    """A logged-in customer."""

    token: str
    customer_id: str


class _Line(msgspec.Struct, frozen=True):
    id: str
    token: str


def load_buyers(path: str | Path) -> list[Buyer]:
    """Buyers from JSON lines {"id": ..., "token": ...}; blank lines are skipped.

    Raises `BadBuyersError` with the line number for a line that is not that, for a repeated id, for a token
    that could not stand in a header, and for a file that is missing or holds no buyer.
    """
    name = str(path)
    decoder = msgspec.json.Decoder(_Line)
    first_line_of: dict[str, int] = {}
    buyers: list[Buyer] = []
    try:
        with Path(path).open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                if not raw.strip():
                    continue
                buyer = _parse(decoder, name, number, raw)
                earlier = first_line_of.setdefault(buyer.customer_id, number)
                if earlier != number:
                    raise BadBuyersError(name, number, f"id {buyer.customer_id!r} was on line {earlier} already")
                buyers.append(buyer)
                if len(buyers) > BUYERS_MAX:
                    raise BadBuyersError(name, number, f"more than {BUYERS_MAX} buyers")
    except OSError as error:
        raise BadBuyersError(name, 0, error.strerror or type(error).__name__) from error
    if not buyers:
        raise BadBuyersError(name, 0, "no buyer in it")
    return buyers


def _parse(decoder: msgspec.json.Decoder[_Line], name: str, number: int, raw: bytes) -> Buyer:
    if len(raw) > LINE_BYTES_MAX:
        raise BadBuyersError(name, number, f"longer than {LINE_BYTES_MAX} bytes")
    try:
        line = decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise BadBuyersError(name, number, str(error)) from error
    if not line.id:
        raise BadBuyersError(name, number, "the id is empty")
    if not _TOKEN.fullmatch(line.token):  # the token itself is a secret and stays out of the message
        raise BadBuyersError(name, number, "the token is empty or holds something other than visible ASCII")
    return Buyer(token=line.token, customer_id=line.id)
