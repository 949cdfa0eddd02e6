"""The port: a way to somebody. What became of a message is an outcome, never an exception."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from doorbuster.contexts.notifications.model import Message


class Sent(Struct, frozen=True):
    """The other side has taken it."""


class Refused(Struct, frozen=True):
    """It will never be taken."""

    reason: str


class Failed(Struct, frozen=True):
    """It may be taken another time, or was taken and the answer lost."""

    reason: str
    at_least_ms: int = 0
    """The other side asked for so much patience."""


class Away(Struct, frozen=True):
    """The channel as a whole cannot be used now, whatever the message: it was not tried."""

    reason: str
    pause_ms: int = 1_000


class Postponed(Struct, frozen=True):
    """This one's other side is left alone for a while; the channel is fine. It was not tried."""

    reason: str
    pause_ms: int


Outcome = Sent | Refused | Failed | Away | Postponed


class Way(Protocol):
    """A channel. `at_once` messages may be under way, of them `per_recipient` to one recipient."""

    at_once: int
    per_recipient: int

    async def send(self, message: Message) -> Outcome:
        """Answers within the settings' `send_timeout_s`, or a little more."""
        ...

    async def close(self) -> None: ...
