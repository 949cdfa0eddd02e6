"""Some go to a candidate: those who ask for it by a header, and a share of the rest, each always the same way."""

from __future__ import annotations

import random
from hashlib import blake2b

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.routing import has_header
from doorbuster.edge.gateway.settings import Canary

_SPACE = 2**64


def canaried(settings: Canary, following: Handler, dice: random.Random) -> Handler:
    bound = int(settings.percent / 100 * _SPACE)
    salt = settings.salt.encode()[:16]
    match = settings.header
    name = b"" if match is None else match.name.lower().encode()
    value = None if match is None or match.value is None else match.value.encode()

    def is_chosen(exchange: Exchange) -> bool:
        if match is not None and has_header(exchange.scope, name, value):
            return True
        if not bound:
            return False
        if settings.by == "request":
            return dice.random() * _SPACE < bound
        return place_of(_identity(exchange, settings.by), salt) < bound

    async def choose(exchange: Exchange) -> None:
        if is_chosen(exchange):
            exchange.upstream = settings.upstream
        await following(exchange)

    return choose


def place_of(identity: str, salt: bytes) -> int:
    """Where somebody stands among 2**64 places, for good."""
    return int.from_bytes(blake2b(identity.encode(), digest_size=8, key=salt).digest(), "big")


def _identity(exchange: Exchange, by: str) -> str:
    principal = exchange.principal if by == "user" else None
    return f"user:{principal.account_id}" if principal is not None else f"address:{exchange.address}"
