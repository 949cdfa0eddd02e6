"""People who work at the shop: made on the command line, as an operator does."""

from __future__ import annotations

from doorbuster.lab.demo.people import Person
from doorbuster.lab.demo.shop_process import ShopProcess
from doorbuster.lab.stampede import Pool


async def hire(shop: ShopProcess, http: Pool, role: str, name: str, email: str, password: str) -> Person:
    """`doorbuster staff create`, and a first log-in. Raises ShopFailed."""
    environment = {"DOORBUSTER_STAFF_PASSWORD": password}
    await shop.command("staff", "create", email, "--role", role, environment=environment)
    return await Person.log_in(http, name, email, password)
