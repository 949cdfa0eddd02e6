"""What survives: a releaser that is killed, a crowd that comes at once, a stream that breaks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec

from conftest import NOW_MS
from contexts.crashing import die
from contexts.waiting_room.conftest import DRAWN_MS, House, customer
from contexts.waiting_room.crash_child import Job
from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.settings.tree import DatabaseSettings
from live_server import live_server


async def test_a_releaser_that_is_killed_loses_nobody_and_lets_nobody_in_twice(
    house: House, tmp_path: Path, database_settings: DatabaseSettings
):
    """kill -9 after its third tick (the draw, then twice 5 people), before anybody hears of it; the rows go on."""
    sale_id = await house.guarded_sale()
    await asyncio.gather(*(house.room.service.join(customer(n), sale_id) for n in range(40)))
    job = Job(str(tmp_path), database_settings.url or None, NOW_MS + DRAWN_MS - 1_000, 5.0)
    await die("contexts.waiting_room.crash_child", "waiting-room.released:3", job)
    drawn = {row.ticket_id: row.place for row in await house.tickets(sale_id)}
    assert sorted(drawn.values()) == list(range(1, 41))
    assert sum(row.state == "admitted" for row in await house.tickets(sale_id)) == 10
    house.set(1, per_s=5.0)
    house.clock.advance(DRAWN_MS + 2_000)
    assert await house.room.releaser.tick() == 0, "the dead process still has the lease"
    assert await house.tick(4_000) == 10, "no more than two seconds are made up for"
    while await house.tick():
        pass
    found = await house.tickets(sale_id)
    assert {row.ticket_id: row.place for row in found} == drawn, "nobody's place has changed"
    assert {row.state for row in found} == {"admitted"}
    assert await house.audit() == {}


async def test_twenty_thousand_arrive_at_once(house: House):
    """Each gets one ticket, in a few dozen commits; whom a busy machine keeps for a second is told to come again."""
    sale_id = await house.guarded_sale()
    left = set(range(20_000))
    for _ in range(20):
        asking = sorted(left)
        crowd = [house.room.service.join(customer(n), sale_id, None) for n in asking]
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
        refused = {n for n, each in zip(asking, outcomes, strict=True) if isinstance(each, Overloaded)}
        answered = {n for n, each in zip(asking, outcomes, strict=True) if not isinstance(each, BaseException)}
        assert refused | answered == left
        left = refused
        if not left:
            break
    assert not left
    await house.tick(DRAWN_MS)
    found = await house.tickets(sale_id)
    assert [row.place for row in found] == list(range(1, 20_001))
    assert len({row.customer_id for row in found}) == 20_000
    assert await house.audit() == {}


async def test_a_stream_tells_place_and_admission_and_goes_on_where_it_broke(house: House):
    house.set(1, per_s=1.0)
    sale_id = await house.guarded_sale()
    await asyncio.gather(*(house.room.service.join(customer(n), sale_id) for n in range(2)))
    await house.tick(DRAWN_MS)
    last = next(row for row in await house.tickets(sale_id) if row.place == 2)
    path = f"/v1/sales/{sale_id}/waiting-room/tickets/mine/live"
    faces = [house.room.context.faces()]
    async with live_server(faces) as server, httpx.AsyncClient(base_url=server.http, timeout=20) as client:
        headers = server.headers(customer(last.customer_id - 1_000))
        async with client.stream("GET", path, headers=headers) as answer:
            cursor, told = await event(answer)
        assert (told["state"], told["place"], told["ahead"], told["admission"]) == ("waiting", 2, 1, None)
        await house.tick()
        await house.tick()
        async with client.stream("GET", path, headers={**headers, "Last-Event-ID": str(cursor)}) as answer:
            later, told = await event(answer)
        assert later > cursor
        assert told["state"] == "admitted"
        assert house.keys.verify(told["admission"].encode()).customer_id == last.customer_id


async def test_the_page_runs_its_own_script_only(house: House):
    sale_id = await house.guarded_sale()
    async with live_server([house.room.context.faces()]) as server, httpx.AsyncClient(base_url=server.http) as client:
        answer = await client.get(f"/v1/sales/{sale_id}/waiting-room", headers={"Accept": "text/html"})
        policy = answer.headers["content-security-policy"]
        nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
        assert f'<script nonce="{nonce}">' in answer.text
        assert answer.text.count("<script") == 1
        assert "http" not in answer.text
        assert "等候室" in answer.text
        again = await client.get(f"/v1/sales/{sale_id}/waiting-room", headers={"Accept": "text/html"})
        assert nonce not in again.text
        shown = (await client.get(f"/v1/sales/{sale_id}/waiting-room")).json()
        assert shown["seed"] is None
        assert len(shown["seed_hash"]) == 64


async def event(answer: httpx.Response) -> tuple[int, dict[str, object] | object]:
    """The next event's id and what it says."""
    cursor = 0
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            cursor = int(line[4:])
        if line.startswith("data: "):
            return cursor, msgspec.json.decode(line[6:])
    raise AssertionError("the stream has ended")
