"""Cursors for lists: opaque to the caller, bounded, and stable while rows are added."""

from __future__ import annotations

import base64
import binascii
from typing import Generic, TypeVar

from msgspec import Struct

from doorbuster.kernel.errors import Invalid
from doorbuster.kernel.ids import ID_MAX

T = TypeVar("T")

LIMIT_DEFAULT, LIMIT_MAX = 20, 100


class BadCursor(Invalid):
    slug = "bad-cursor"
    title = "This cursor was not given out by the shop"


class BadLimit(Invalid):
    slug = "bad-limit"
    title = f"A limit is a number from 1 to {LIMIT_MAX}"


class Page(Struct, Generic[T], frozen=True):
    """Some items and the id to go on after; None at the end."""

    items: list[T]
    next_after: int | None


def encode_cursor(after: int) -> str:
    return base64.urlsafe_b64encode(after.to_bytes(8, "big")).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """Raises BadCursor."""
    try:
        after = int.from_bytes(base64.b64decode(f"{cursor}=", altchars=b"-_", validate=True), "big")
    except (binascii.Error, ValueError) as error:
        raise BadCursor from error
    if after > ID_MAX or encode_cursor(after) != cursor:
        raise BadCursor
    return after


def checked_limit(limit: int) -> int:
    """Raises BadLimit."""
    if not 1 <= limit <= LIMIT_MAX:
        raise BadLimit(f"limit is {limit}")
    return limit
