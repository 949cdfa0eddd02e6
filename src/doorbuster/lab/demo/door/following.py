"""The waiting room as the crowd follows it: whose turn comes soon, and how many were let in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from doorbuster.lab.demo.door.cast import Cast, Visitor
from doorbuster.lab.demo.door.fairness import Drawn

PAGE, PAGES_MAX = 100, 1_000
EVERY_S = 0.1
SOON = 30
"""Places behind those who were let in."""

Get = Callable[[str], Awaitable[dict[str, Any]]]
"""The answer's body. Raises ShopFailed."""


async def read_draw(get: Get, sale_id: str, pages: int = PAGES_MAX) -> Drawn:
    """The first pages of it. Raises what `get` does."""
    reader = DrawReader(get, sale_id)
    for _ in range(pages):
        if not await reader.next_page():
            break
    return reader.drawn


class DrawReader:
    def __init__(self, get: Get, sale_id: str) -> None:
        self._get, self._path = get, f"/v1/sales/{sale_id}/waiting-room/draw?limit={PAGE}"
        self._cursor = ""
        self.drawn = Drawn("", None, ())

    async def next_page(self) -> bool:
        """Whether there may be more. Raises what `get` does."""
        page = await self._get(f"{self._path}{self._cursor}")
        found = [(item["place"], item["ticket_id"], item["by_lot"]) for item in page["items"]]
        self.drawn = Drawn(page["seed_hash"], page["seed"], [*self.drawn.places, *found])
        if page["next_cursor"]:
            self._cursor = f"&cursor={page['next_cursor']}"
        return page["next_cursor"] is not None


class Room:
    """`let_in`: as far as anybody has noticed."""

    def __init__(self, cast: Cast, get: Get, places: int) -> None:
        """`places`: so many may come to something; nobody looks at the draw beyond them."""
        self._cast, self._get, self._places = cast, get, places
        self._first: Sequence[Visitor] = ()
        self.let_in = 0
        self.tickets = len(cast.everybody)

    async def follow(self) -> None:
        """Reads the draw, page by page, as soon as there is one. Ends when it has. Raises ShopFailed."""
        reader = DrawReader(self._get, self._cast.place.sale_id)
        visitors = {visitor.ticket_id: visitor for visitor in self._cast.everybody}
        while len(self._first) < min(self._places, len(visitors)):
            more = await reader.next_page()
            self._first = [visitors[ticket] for _, ticket, _ in reader.drawn.places if ticket in visitors]
            if not more:  # nothing is drawn yet, or this was the last page
                await asyncio.sleep(EVERY_S)

    async def keep(self) -> None:
        """Says who is near, until cancelled."""
        while True:
            noticed = (place for place, visitor in enumerate(self._first, start=1) if visitor.admission)
            everywhere = sum(bool(visitor.admission) for visitor in self._cast.everybody)
            self.let_in = max(everywhere, max(noticed, default=0))
            soon = self._first[: self.let_in + SOON]
            self._cast.near = [visitor for visitor in soon if not visitor.bot and not visitor.admission]
            await asyncio.sleep(EVERY_S)
