"""What the payment provider itself says of the money: its statement, read over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from urllib.parse import quote

from doorbuster.lab.payment_simulator.messages import StatementItem, StatementPage
from doorbuster.lab.stampede import Pool

STATEMENT_PAGE = 500
STATEMENT_PAGES_MAX = 10_000


async def captured_at_provider(simulator_url: str, order_ids: Collection[str]) -> int:
    """Captures minus whole refunds of these orders."""
    captures = 0
    async for item in _items(simulator_url):
        if item.order_id in order_ids:
            captures += 1 if item.kind == "capture" else -1
    return captures


async def net_by_order(simulator_url: str) -> Mapping[str, int]:
    """By order, in minor units: what came in less what went back."""
    net: dict[str, int] = {}
    async for item in _items(simulator_url):
        amount = item.amount if item.kind == "capture" else -item.amount
        net[item.order_id] = net.get(item.order_id, 0) + amount
    return net


async def _items(simulator_url: str) -> AsyncGenerator[StatementItem]:
    cursor = ""
    async with Pool(simulator_url) as provider:
        for _ in range(STATEMENT_PAGES_MAX):
            after = f"&after={quote(cursor)}" if cursor else ""
            answer = await provider.request("GET", f"/v1/statement?limit={STATEMENT_PAGE}{after}")
            page = answer.json(StatementPage)
            for item in page.items:
                yield item
            if not page.next_cursor:
                return
            cursor = page.next_cursor
