"""What is told to whom by which way, unless they wish otherwise; and when a failed message is tried again. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

from msgspec import Struct

from doorbuster.contracts.notifications import Channel
from doorbuster.kernel.clock import Instant
from doorbuster.kernel.money import Money

Locale = Literal["en", "zh"]
Part = Literal["customer", "merchant", "courier", "account", "party"]
"""As whom somebody is told of an event; an event tells each part once."""
Kind = Literal[
    "order-placed",
    "order-paid",
    "order-cancelled",
    "order-refunded",
    "order-partly-refunded",
    "order-shipped",
    "order-completed",
    "courier-assigned",
    "parcel-sent",
    "order-delivered",
    "offer-made",
    "courier-called-off",
    "support-message",
    "welcome",
    "sold-order-paid",
    "sold-order-cancelled",
    "sold-order-refunded",
    "sold-order-partly-refunded",
    "sold-order-shipped",
    "sold-order-completed",
]
Choice = Literal["email", "push"]
"""The channels that an account chooses; webhooks are chosen by registering an endpoint, WeCom by the shop."""
KINDS: tuple[Kind, ...] = get_args(Kind)
LOCALES: tuple[Locale, ...] = get_args(Locale)

_BOTH: tuple[Choice, ...] = ("email", "push")
_PUSH: tuple[Choice, ...] = ("push",)
DEFAULTS: Mapping[Kind, tuple[Choice, ...]] = {
    "order-placed": _BOTH,
    "order-paid": _BOTH,
    "order-cancelled": _BOTH,
    "order-refunded": _BOTH,
    "order-partly-refunded": _BOTH,
    "order-shipped": _PUSH,
    "order-completed": _PUSH,
    "courier-assigned": _PUSH,
    "parcel-sent": _BOTH,
    "order-delivered": _PUSH,
    "offer-made": _PUSH,
    "courier-called-off": _PUSH,
    "support-message": _PUSH,
    "welcome": ("email",),
    "sold-order-paid": _PUSH,
    "sold-order-cancelled": _PUSH,
    "sold-order-refunded": _PUSH,
    "sold-order-partly-refunded": _PUSH,
    "sold-order-shipped": (),
    "sold-order-completed": (),
}

FIRST_PAUSE_MS, PAUSE_MAX_MS = 2_000, 3_600_000
LEASE_MS = 90_000
"""So long a claimed message belongs to its sender; sending takes a third of it at most."""
EXPIRES_MS = 3 * 24 * 3_600_000
"""What could not be sent for so long because its whole channel was away is dead."""
EMAIL_MAX = 254
_ATOM, _LABEL = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+", r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
"""A dot-atom at a host name (RFC 5321 without quoted forms): what can stand in a letter's header."""


class Facts(Struct, frozen=True, omit_defaults=True):
    """What a notification is about, as far as its event says."""

    order_id: int | None = None
    amount: Money | None = None
    carrier: str = ""
    tracking_number: str = ""
    expires_ms: int | None = None
    conversation_id: int | None = None
    excerpt: str = ""


class Notice(Struct, frozen=True):
    """Somebody is to be told of an event. `account_id` is None where the order has to be asked who it is."""

    source: str
    seq: int
    part: Part
    kind: Kind
    account_id: int | None
    facts: Facts
    at_ms: Instant
    attempts: int = 0


class Draft(Struct, frozen=True):
    """A message of one channel, rendered. `recipient_id`: the account, the endpoint, or 0 for the shop's own robot."""

    channel: Channel
    recipient_id: int
    account_id: int
    kind: Kind
    target: str
    content: bytes


class Message(Struct, frozen=True):
    """A message as its sender has claimed it; `claims` is the number of the claim, and proves it."""

    id: int
    event_id: str
    channel: Channel
    recipient_id: int
    account_id: int
    kind: Kind
    target: str
    content: bytes
    attempts: int
    claims: int
    created_ms: Instant


class Mail(Struct, frozen=True):
    """The content of an e-mail."""

    subject: str
    text: str
    html: str


class Pushed(Struct, frozen=True):
    """An in-app notification. `number` is its place in the account's stream."""

    number: int
    content: bytes


class DeadMessage(Struct, frozen=True):
    id: int
    event_id: str
    channel: Channel
    account_id: int
    kind: Kind
    target: str
    attempts: int
    error: str
    created_ms: Instant


class Preferences(Struct, frozen=True):
    """`channels` holds what differs from the defaults, or not."""

    locale: Locale
    channels: Mapping[Kind, tuple[Choice, ...]] = {}

    def chosen(self, kind: Kind) -> tuple[Choice, ...]:
        return self.channels.get(kind, DEFAULTS[kind])


class Endpoint(Struct, frozen=True):
    """Where a merchant's webhooks go. The secret signs them."""

    id: int
    account_id: int
    url: str
    secret: str
    created_ms: Instant

    def __repr__(self) -> str:
        return f"Endpoint(id={self.id}, account_id={self.account_id})"


def pause_ms(attempts: int, dice: float, at_least_ms: int = 0) -> int:
    """How long to wait after the `attempts`-th failure: anything up to a bound that doubles (full jitter).

    `dice` is in 0..1. A pause that the other side asks for is kept.
    """
    bound = min(PAUSE_MAX_MS, FIRST_PAUSE_MS * 2 ** min(attempts - 1, 30))
    return min(PAUSE_MAX_MS, max(at_least_ms, 1 + int(dice * bound)))


def is_email(address: str) -> bool:
    return len(address) <= EMAIL_MAX and _EMAIL.fullmatch(address) is not None
