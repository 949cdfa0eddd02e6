"""What can go wrong on request, and the seeded dice that decide when it does."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Chance = bool | Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[int, Meta(ge=0, le=600_000)]
RangeMs = tuple[Milliseconds, Milliseconds]
Behaviour = Literal["late", "twice", "out_of_order", "forged", "drop_reply", "slow", "down"]
DroppableRoute = Literal["intent", "refund", "confirm", "cancel"]

SUBJECTS_MAX = 65_536


class Misbehaviour(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything is off by default. A chance is 0..1, or true and false for always and never.

    late: the webhook's first try waits ``late_ms`` (lowest, highest).
    twice: a second delivery with the same event id, ``twice_gap_ms`` after the first; 0 races it.
    out_of_order: an event is held back until a later event of its payment was delivered, at most
        ``out_of_order_hold_ms``.
    forged: an extra delivery that must never be believed (see ``forgeries``).
    drop_reply: the request acts, then the connection closes without an answer; at most
        ``drop_reply_times`` times for the same request, on the routes of ``drop_reply_on``.
    slow: the request acts, then its answer waits ``slow_ms``.
    down: the request has no effect; ``down_as`` is a 503 ("unavailable") or a dead line ("close").
    """

    late: Chance = False
    late_ms: RangeMs = (100, 1000)
    twice: Chance = False
    twice_gap_ms: RangeMs = (0, 100)
    out_of_order: Chance = False
    out_of_order_hold_ms: Milliseconds = 2000
    forged: Chance = False
    drop_reply: Chance = False
    drop_reply_times: Annotated[int, Meta(ge=1, le=1000)] = 2
    drop_reply_on: tuple[DroppableRoute, ...] = ("intent", "refund", "confirm")
    slow: Chance = False
    slow_ms: RangeMs = (100, 1000)
    down: Chance = False
    down_as: Literal["unavailable", "close"] = "unavailable"

    def __post_init__(self) -> None:
        for name in ("late_ms", "twice_gap_ms", "slow_ms"):
            lowest, highest = getattr(self, name)
            if lowest > highest:
                raise ValueError(f"{name} is [lowest, highest]")


class Dice(Struct, frozen=True):
    """Draws that depend on the seed and the subject alone, never on the order in which requests arrive."""

    seed: int
    settings: Misbehaviour

    def happens(self, behaviour: Behaviour, subject: str) -> bool:
        """Whether ``behaviour`` befalls ``subject``."""
        chance = float(getattr(self.settings, behaviour))
        return chance > 0 and self._roll(behaviour, subject) < chance

    def between(self, bounds_ms: RangeMs, behaviour: Behaviour, subject: str) -> int:
        """A whole number of milliseconds within ``bounds_ms``, both ends included."""
        lowest, highest = bounds_ms
        return lowest + int(self._roll(f"{behaviour}_ms", subject) * (highest - lowest + 1))

    def one_of(self, choices: tuple[str, ...], behaviour: Behaviour, subject: str) -> str:
        """One of ``choices``, each as likely as the others."""
        return choices[int(self._roll(f"{behaviour}_choice", subject) * len(choices))]

    def _roll(self, what: str, subject: str) -> float:
        digest = hashlib.blake2b(f"{self.seed}|{what}|{subject}".encode(), digest_size=6).digest()
        return int.from_bytes(digest) / 2**48


class Tries:
    """Counts how often each request was seen; the least recently seen of ``SUBJECTS_MAX`` is forgotten."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, int] = OrderedDict()

    def next(self, subject: str) -> int:
        """The number of this try, from 1."""
        number = self._seen.pop(subject, 0) + 1
        self._seen[subject] = number
        if len(self._seen) > SUBJECTS_MAX:
            self._seen.popitem(last=False)
        return number


def parse_pairs(pairs: list[str]) -> Misbehaviour:
    """``["twice=0.1", "late_ms=[50,400]"]`` from the command line; values are JSON or plain words.

    Raises:
        ValueError: a pair without "=".
        msgspec.ValidationError: an unknown name or a value out of bounds.
    """
    values: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not name=value")
        values[name] = _value(text)
    return msgspec.convert(values, Misbehaviour)


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
