"""Who is at the door: customers, and bots with accounts of their own; and what each of them asks for."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

from msgspec import Struct

from doorbuster.lab.stampede import Buyer
from doorbuster.lab.stampede.target import Target

BOT_TRAFFIC = 0.1
"""A tenth of all requests comes from bots..."""
BOT_EAGERNESS = 10
"""...each of which asks so many times as often as a person."""
PATIENCE_MS = 1_000
"""What everybody says of their patience (X-Request-Timeout-Ms); a later answer is no use to them."""

NEAR_SHARE = 0.8
"""Of the looks at one's place, when the lot is drawn and everybody knows how soon their turn comes."""

Kind = Literal["product", "sale", "place", "ticket", "claim-bare", "claim-forged", "claim-borrowed", "claim-used"]
CHEATS: frozenset[Kind] = frozenset(("claim-bare", "claim-forged", "claim-borrowed", "claim-used"))

_PERSON: tuple[tuple[Kind, float], ...] = (("product", 0.3), ("sale", 0.3), ("place", 0.4))
_BOT: tuple[tuple[Kind, float], ...] = (
    ("ticket", 0.1),
    ("place", 0.4),
    ("claim-bare", 0.15),
    ("claim-forged", 0.15),
    ("claim-borrowed", 0.15),
    ("claim-used", 0.05),
)


class Visitor(Struct):
    """`admission`: what the waiting room has given; `order_id`: what came of it."""

    buyer: Buyer
    bot: bool
    ticket_id: str = ""
    admission: str = ""
    order_id: str = ""


class Place(Struct, frozen=True):
    """Where it happens."""

    sale_id: str
    product_ids: Sequence[str]


class Cast:
    """All visitors, and the dice that say who asks what next."""

    def __init__(self, buyers: Sequence[Buyer], place: Place, target: Target, seed: int) -> None:
        bots = bots_among(len(buyers))
        self.everybody = [Visitor(buyer, bot=number < bots) for number, buyer in enumerate(buyers)]
        self.bots, self.people = self.everybody[:bots], self.everybody[bots:]
        self.place = place
        self.near: Sequence[Visitor] = ()
        """Those whose turn comes soon: they look at their place more often than the others."""
        self._target = target
        self._chance = Random(seed)
        self._number = 0

    def next(self) -> tuple[Visitor, Kind, bytes]:
        """Somebody, what they want, and the bytes of it."""
        chance = self._chance
        bot = chance.random() < BOT_TRAFFIC
        visitor = chance.choice(self.bots if bot else self.people)
        kind = _drawn(_BOT if bot else _PERSON, chance.random())
        if kind == "place" and not bot and self.near and chance.random() < NEAR_SHARE:
            visitor = chance.choice(self.near)
        return visitor, kind, self._request(visitor, kind)

    def _request(self, visitor: Visitor, kind: Kind) -> bytes:
        sale = f"/v1/sales/{self.place.sale_id}"
        match kind:
            case "product":
                return self._get(visitor, f"/v1/products/{self._chance.choice(self.place.product_ids)}")
            case "sale":
                return self._get(visitor, sale)
            case "place":
                return self._get(visitor, f"{sale}/waiting-room/tickets/mine")
            case "ticket":
                return self._post(visitor, f"{sale}/waiting-room/tickets", "")
            case _:
                return self._post(visitor, f"{sale}/claims", self._shown(visitor, kind), '{"quantity":1}')

    def _shown(self, visitor: Visitor, kind: Kind) -> str:
        """What a bot shows that has no right to claim."""
        if kind == "claim-bare":
            return ""
        shared = [bot.admission for bot in self.bots if bot.admission and bot is not visitor]
        if kind == "claim-borrowed" and shared:
            return f"doorbuster-admission: {self._chance.choice(shared)}\r\n"
        if kind == "claim-used" and visitor.order_id:
            return f"doorbuster-admission: {visitor.admission}\r\n"
        forged = f"{self._chance.getrandbits(32):08x}.{self._chance.getrandbits(320):080x}.{'A' * 43}"
        return f"doorbuster-admission: {forged}\r\n"

    def _get(self, visitor: Visitor, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\n{self._head(visitor)}\r\n".encode("ascii")

    def _post(self, visitor: Visitor, path: str, more: str, body: str = "") -> bytes:
        self._number += 1
        head = (
            f"{self._head(visitor)}{more}idempotency-key: cast-{self._number:x}\r\ncontent-type: application/json\r\n"
        )
        return f"POST {path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n{body}".encode("ascii")

    def _head(self, visitor: Visitor) -> str:
        return (
            f"host: {self._target.host_header}\r\nauthorization: Bearer {visitor.buyer.token}\r\n"
            f"x-request-timeout-ms: {PATIENCE_MS}\r\n"
        )


def bots_among(accounts: int) -> int:
    """How many accounts are bots, so that BOT_TRAFFIC comes from them at BOT_EAGERNESS times the rate of a person."""
    share = BOT_TRAFFIC / (BOT_EAGERNESS * (1 - BOT_TRAFFIC))
    return max(2, round(accounts * share / (1 + share)))


def _drawn(mix: Sequence[tuple[Kind, float]], lot: float) -> Kind:
    for kind, share in mix:
        if lot < share:
            return kind
        lot -= share
    return mix[-1][0]
