"""Waiting for what several of them do at the same time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from doorbuster.lab.stampede import Ack, NoAnswerError, Pool

LOOK_EVERY_S = 0.3
FINAL = ("paid", "cancelled")


async def beside(work: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Runs `work`; the others run as long as it does. Raises what any of them raises, and ends all."""
    tasks = [asyncio.create_task(each) for each in (work, *others)]
    try:
        waiting = set(tasks)
        while not tasks[0].done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # what failed first has been raised


async def orders_settled(
    http: Pool, promised: Callable[[], Sequence[Ack]], units: int, at_most_s: float
) -> Mapping[str, int]:
    """Until so many orders are paid and none is open, or time is up: the promised orders by status."""
    give_up_s = time.monotonic() + at_most_s
    known: dict[str, str] = {}
    while True:
        for ack in promised():
            if known.get(ack.order_id) not in FINAL:
                known[ack.order_id] = await _status(http, ack)
        counts = Counter(known.values())
        settled = counts["paid"] >= units and all(status in FINAL for status in counts)
        if settled or time.monotonic() > give_up_s:
            return counts
        await asyncio.sleep(LOOK_EVERY_S)


async def _status(http: Pool, ack: Ack) -> str:
    try:
        answer = await http.request("GET", f"/v1/orders/{ack.order_id}", {"Authorization": f"Bearer {ack.buyer.token}"})
    except NoAnswerError:
        return "unknown"
    return answer.json(dict[str, Any])["status"] if answer.status == 200 else "unknown"
