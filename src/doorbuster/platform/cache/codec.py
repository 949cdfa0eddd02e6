"""How values travel to Redis, and what their version is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Codec(Generic[T]):
    """Values of one type as JSON; None as null."""

    def __init__(self, kind: Any, version: Callable[[T], int]) -> None:
        """`kind` is the type T. `version(value)` grows with each change of it, from 1."""
        self.version = version
        self._encode = msgspec.json.Encoder().encode
        self._decoder: msgspec.json.Decoder[T | None] = msgspec.json.Decoder(kind | None)

    def encode(self, value: T | None) -> str:
        return self._encode(value).decode()

    def decode(self, text: str) -> T | None:
        """Raises ValueError on what is of another release."""
        try:
            return self._decoder.decode(text)
        except msgspec.MsgspecError as error:
            raise ValueError("not a value of this release") from error
