"""What the bench and its server say to each other over the server's standard input and output, a line at a time."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from doorbuster.platform.settings.tree import Settings

Store = Literal["none", "sqlite", "postgres"]
STORES: tuple[Store, ...] = ("none", "sqlite", "postgres")


Front = Literal["door", "empty", "full"]
"""What stands in front: the door alone, a gateway that does nothing, or one that does all it can to a claim."""


class ServerPlan(Struct, frozen=True):
    """The first line: what to serve. `token_key` ("id:base64url") is what the shoppers' tokens are signed with."""

    store: Store
    settings: Settings
    token_key: str
    front: Front = "door"


class Listening(Struct, frozen=True):
    """The answer to it."""

    base_url: str


class NewSale(Struct, frozen=True, tag="new-sale"):
    """Asks for a sale; answered by `OpenSale`."""


class OpenSale(Struct, frozen=True):
    sale_id: str


class AskUsage(Struct, frozen=True, tag="usage"):
    """Asks what the process has used so far; answered by `Usage`."""


class Usage(Struct, frozen=True):
    """Processor time of all threads, user and system."""

    cpu_s: float


Question = NewSale | AskUsage
