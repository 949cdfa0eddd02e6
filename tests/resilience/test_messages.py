"""Mail server, robot and webhooks are slow, down or wrong: messages wait, none is lost, and others are sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from conftest import OpenDatabase
from contexts.notifications.notifying_shop import MIGRATIONS, TEA_HOUSE, NotifyingShop, build_shop
from contexts.notifications.servers import PostOffice, Receiver
from doorbuster.contexts.notifications.resilience import WEBHOOKS
from doorbuster.contracts.notifications import Channel
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.config_store import Snapshot
from doorbuster.platform.sql.database import Database

LATER_MS = 3_600_000
ENOUGH = WEBHOOKS.default.breaker.calls_min


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    return await open_database("notifications", MIGRATIONS)


@asynccontextmanager
async def slow() -> AsyncIterator[int]:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            continue
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def down() -> AsyncIterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield port


@asynccontextmanager
async def wrong() -> AsyncIterator[int]:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 nonsense\r\n\r\n" * 3)
        await reader.read(4096)
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def settings_for(channel: Channel, port: int) -> dict[str, object]:
    url = f"http://127.0.0.1:{port}/"
    return {
        "smtp_port": port if channel == "email" else 1,
        "wecom_url": url if channel == "wecom" else "",
        "webhook_local": True,
        "send_timeout_s": 0.3,
    }


async def told(shop: NotifyingShop, channel: Channel, port: int) -> None:
    """Somebody buys, and a message by this channel is due."""
    if channel == "webhook":
        await shop.service.add_endpoint(TEA_HOUSE, "k", f"http://127.0.0.1:{port}/")
    await shop.paid()


@pytest.mark.parametrize("channel", ["email", "wecom", "webhook"])
@pytest.mark.parametrize("trouble", [slow, down, wrong])
async def test_the_message_waits(
    platform: Platform, clock: ManualClock, database: Database, channel: Channel, trouble: object
):
    async with trouble() as port:  # type: ignore[operator]
        shop = build_shop(platform, clock, database, settings_for(channel, port))
        await told(shop, channel, port)
        lane = shop.built.sender.lanes[channel]
        await lane.fill()
        await lane.drain()
        row = await shop.only(channel)
        assert (row.status, row.leased_until_ms) == ("due", None)
        assert row.error
        assert await shop.broken() == []
        await shop.close()


async def test_a_host_that_fails_is_left_alone_without_costing_its_messages_their_tries(
    platform: Platform, clock: ManualClock, database: Database
):
    async with down() as port, Receiver() as sound:
        shop = build_shop(platform, clock, database, settings_for("webhook", port))
        await told(shop, "webhook", port)
        for _ in range(ENOUGH + 3):
            await shop.send("webhook")
            clock.advance(LATER_MS)
        row = await shop.only("webhook")
        assert (row.status, row.attempts, row.error) == ("due", ENOUGH, "circuit-open")
        # Another host is none the worse for it.
        await shop.service.add_endpoint(TEA_HOUSE, "k2", f"http://localhost:{sound.port}/")
        await shop.paid()
        await shop.send("webhook")
        assert len(sound.requests) == 1
        await shop.close()


async def test_a_mail_server_that_never_answers_is_left_alone(
    platform: Platform, clock: ManualClock, database: Database
):
    async with PostOffice(mood="hang") as office:
        shop = build_shop(platform, clock, database, settings_for("email", office.port))
        await shop.paid()
        for _ in range(ENOUGH + 3):
            await shop.send("email")
            clock.advance(LATER_MS)
        row = await shop.only("email")
        assert (row.status, row.attempts, row.error) == ("due", ENOUGH, "circuit-open")
        await shop.close()


async def test_switched_off_nothing_is_sent_and_nothing_is_lost(
    platform: Platform, clock: ManualClock, database: Database
):
    async with PostOffice() as office:
        shop = build_shop(platform, clock, database, settings_for("email", office.port))
        runtime = shop.platform.runtime
        runtime.apply(Snapshot(version=1, entries={"features": b'{"value":{"notifications":false}}'}))
        await shop.paid()
        assert await shop.send("email") == 0
        assert (await shop.only("email")).status == "due"
        runtime.apply(Snapshot(version=2, entries={}))
        assert await shop.send("email") == 1
        assert len(office.letters) == 1
        await shop.close()


async def test_a_stalled_host_takes_no_more_than_its_places(platform: Platform, clock: ManualClock, database: Database):
    async with Receiver() as sound:
        sound.answer = lambda _: web.Response()
        shop = build_shop(platform, clock, database, {"webhook_local": True})
        bulkhead = b'{"value":{"bulkhead":{"at_once":1,"waiting_max":0}}}'
        shop.platform.runtime.apply(Snapshot(version=1, entries={"resilience.webhooks": bulkhead}))
        gate = asyncio.Event()
        sound.before = gate.wait
        await shop.service.add_endpoint(TEA_HOUSE, "k", f"{sound.url}/")
        await shop.paid()
        await shop.paid()
        lane = shop.built.sender.lanes["webhook"]
        assert await lane.fill() == 2
        async with asyncio.timeout(20):
            while len(sound.requests) < 1 or len([1 for row in await shop.by("webhook") if row.error]) < 1:
                await asyncio.sleep(0.01)
        assert len(sound.requests) == 1
        assert sorted((row.attempts, row.error) for row in await shop.by("webhook")) == [(0, "overloaded"), (1, "")]
        gate.set()
        await lane.drain()
        clock.advance(LATER_MS)
        await shop.send("webhook")
        assert [row.status for row in await shop.by("webhook")] == ["sent", "sent"]
        await shop.close()
