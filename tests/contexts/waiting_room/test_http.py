"""From the ticket to the claim over HTTP, behind the real door."""

from __future__ import annotations

import httpx
import sqlalchemy as sa

from contexts.waiting_room.conftest import DRAWN_MS, House, customer
from doorbuster.contexts.flash_sale.tables import claims
from live_server import live_server


async def test_a_claim_shows_its_admission_in_a_header(house: House):
    house.set(1, per_s=10.0)
    sale_id = await house.guarded_sale()
    faces = [house.room.context.faces(), house.sale.context.faces()]
    room, claim = f"/v1/sales/{sale_id}/waiting-room", f"/v1/sales/{sale_id}/claims"
    async with live_server(faces) as server, httpx.AsyncClient(base_url=server.http) as client:
        me = {**server.headers(customer(1)), "Idempotency-Key": "k"}
        taken = await client.post(f"{room}/tickets", headers=me)
        assert (taken.status_code, taken.json()["state"], taken.json()["opens_in_s"]) == (201, "waiting", 60)
        await house.tick(DRAWN_MS)
        await house.tick()
        house.clock.advance(2_001)
        admission = (await client.get(f"{room}/tickets/mine", headers=me)).json()["admission"]

        async def ask(*shown: str) -> tuple[int, str]:
            headers = [*me.items(), *(("Doorbuster-Admission", each) for each in shown)]
            answer = await client.post(claim, headers=headers, json={"quantity": 1})
            return answer.status_code, answer.json().get("slug", answer.json().get("order_id"))

        assert await ask() == (403, "admission-required")
        assert await ask("nonsense") == (403, "admission-invalid")
        assert await ask(admission[:-2] + "AA") == (403, "admission-invalid")
        assert await ask(server.token(customer(1))) == (403, "admission-invalid")
        assert await ask(admission, admission) == (400, "repeated-header")
        assert await rows(house) == 0
        first = await ask(admission)
        assert first[0] == 201
        house.clock.advance(600_000)
        assert await ask(admission) == first, "also when it has ended"
        assert await rows(house) == 1
        draw = (await client.get(f"{room}/draw")).json()
        assert draw["items"] == [{"place": 1, "ticket_id": taken.json()["ticket_id"], "by_lot": True}]


async def rows(house: House) -> int:
    statement = sa.select(sa.func.count()).select_from(claims)
    return await house.sale_database.read(lambda tx: tx.execute(statement).scalar_one())
