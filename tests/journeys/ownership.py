"""What is expected of a route when everybody asks: see test_api_ownership."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from journeys.api_shop import ApiShop

Thing = Callable[[ApiShop, str], str]
Body = Callable[[ApiShop, str, str], object]
"""Of the shop, the thing's id, and who asks."""
MERCHANTS = ("merchant", "rival")


class Rule(Struct, frozen=True):
    """`own` and `others`: the statuses of each asker about the first's and about the second's thing.

    About ids that are none everybody with the role for the route gets 400, and 404 about ids of nothing. The id stands
    in the path, in the body, or in the `query` parameter of that name.
    """

    own: str
    others: str = ""
    thing: Thing | None = None
    owners: tuple[str, str] = ("owner", "other")
    body: Body | None = None
    query: str = ""
