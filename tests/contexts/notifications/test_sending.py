"""Channels against real servers: what arrives, what is tried again, what is dead."""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from contexts.notifications.notifying_shop import (
    MIGRATIONS,
    TEA_HOUSE,
    NotifyingShop,
    build_shop,
)
from contexts.notifications.servers import PostOffice, Receiver
from doorbuster.contexts.notifications.mailing import Mailing
from doorbuster.contexts.notifications.model import LEASE_MS, Mail, Message, is_email
from doorbuster.contexts.notifications.tables import messages
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History, migrate
from doorbuster.platform.sql.sqlite import SqliteDatabase


async def test_a_letter_arrives(platform: Platform, clock: ManualClock, database: Database):
    async with PostOffice() as office:
        shop = build_shop(platform, clock, database, {"smtp_port": office.port, "shop_name": "Tea & 茶"})
        order = await shop.paid()
        assert await shop.send("email") == 1
        (letter,) = office.letters
        row = await shop.only("email")
        assert (row.status, row.leased_until_ms) == ("sent", None)
        assert letter["Message-ID"] == f"<{row.id}@shop.example>"
        assert letter["To"] == "ann@example.org"
        assert str(order.id) in letter["Subject"]
        html = letter.get_body(("html",))
        assert html is not None
        assert "Tea &amp; 茶" in html.get_content()
        assert await shop.send("email") == 0
        await shop.close()


@pytest.mark.parametrize(
    ("said", "status", "attempts"),
    [("550 no such user", "dead", 1), ("451 later", "due", 1), ("421 closing", "due", 0)],
)
async def test_what_the_mail_server_says_decides(
    platform: Platform, clock: ManualClock, database: Database, said: str, status: str, attempts: int
):
    async with PostOffice(at_recipient=said) as office:
        shop = build_shop(platform, clock, database, {"smtp_port": office.port})
        await shop.paid()
        await shop.built.sender.lanes["email"].fill()
        await shop.built.sender.lanes["email"].drain()
        row = await shop.only("email")
        assert (row.status, row.attempts) == (status, attempts)
        assert not office.letters
        assert await shop.broken() == []


@pytest.mark.parametrize("mood", ["hang", "drop"])
async def test_a_lost_answer_is_tried_again_under_the_same_id(
    platform: Platform, clock: ManualClock, database: Database, mood: str
):
    async with PostOffice(mood=mood) as office:
        shop = build_shop(platform, clock, database, {"smtp_port": office.port, "send_timeout_s": 0.5})
        await shop.paid()
        assert await shop.send("email") == 1
        assert (await shop.only("email")).status == "due"
        office.mood = "250 OK"
        clock.advance(2_001)
        assert await shop.send("email") == 1
        assert (await shop.only("email")).status == "sent"
        assert len({letter["Message-ID"] for letter in office.letters}) == 1


async def test_an_outage_costs_no_attempts_and_ends(shop: NotifyingShop):
    await shop.paid()
    lane = shop.built.sender.lanes["email"]
    assert await lane.fill() == 1
    await lane.drain()
    assert await lane.fill() == 0, "the channel is paused"
    row = await shop.only("email")
    assert (row.status, row.attempts, row.claims) == ("due", 0, 1)


async def test_bounded_attempts_end_in_a_dead_letter_that_can_be_replayed(
    platform: Platform, clock: ManualClock, database: Database
):
    async with PostOffice(at_recipient="451 later") as office:
        shop = build_shop(platform, clock, database, {"smtp_port": office.port, "attempts_max": 3})
        await shop.paid()
        for _ in range(5):
            await shop.send("email")
            clock.advance(3_600_000)
        (dead,) = (await shop.service.dead(None, 10)).items
        assert dead.attempts == 3
        office.at_recipient = ""
        assert await shop.service.replay(dead.id) == "due"
        assert await shop.send("email") == 1
        assert await shop.service.replay(dead.id) == "sent"
        assert len(office.letters) == 1


async def test_webhooks_are_signed_and_not_redirected(
    platform: Platform, clock: ManualClock, database: Database, receiver: Receiver
):
    shop = build_shop(platform, clock, database, {"webhook_local": True})
    endpoint = await shop.service.add_endpoint(TEA_HOUSE, "k", f"{receiver.url}/hook")
    assert (await shop.service.add_endpoint(TEA_HOUSE, "k", f"{receiver.url}/hook")).secret == endpoint.secret
    await shop.paid()
    receiver.answer = lambda _: web.Response(status=302, headers={"Location": "/elsewhere"})
    await shop.send("webhook")
    receiver.answer = lambda _: web.Response()
    clock.advance(2_001)
    await shop.send("webhook")
    assert [path for path, _, _ in receiver.requests] == ["/hook", "/hook"]
    for _, headers, body in receiver.requests:
        second, _, given = headers["Doorbuster-Signature"].removeprefix("t=").partition(",v1=")
        assert given == hmac.digest(endpoint.secret.encode(), f"{second}.".encode() + body, "sha256").hex()
        assert msgspec.json.decode(body)["id"] == headers["Doorbuster-Event-Id"]
    assert (await shop.only("webhook")).status == "sent"
    await shop.close()


async def test_a_name_that_changes_its_mind_reaches_nothing_private(
    platform: Platform, clock: ManualClock, database: Database, receiver: Receiver
):
    answers = [["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"]]
    asked: list[str] = []

    async def resolve(host: str) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    shop = build_shop(platform, clock, database, resolve=resolve)
    await shop.service.add_endpoint(TEA_HOUSE, "k", f"https://tea.example.org:{receiver.port}/")
    await shop.paid()
    for _ in range(3):
        await shop.send("webhook")
        clock.advance(3_600_000)
    row = await shop.only("webhook")
    assert (row.status, row.attempts, len(asked)) == ("due", 3, 4)
    assert not receiver.requests
    await shop.close()


async def test_wecom_is_told_and_its_errors_are_heard(
    platform: Platform, clock: ManualClock, database: Database, receiver: Receiver
):
    said = {"errcode": 45009}
    receiver.answer = lambda _: web.json_response(said)
    shop = build_shop(platform, clock, database, {"wecom_url": f"{receiver.url}/send?key=secret"})
    await shop.paid()
    await shop.send("wecom")
    assert ((await shop.only("wecom")).status, (await shop.only("wecom")).attempts) == ("due", 0)
    said["errcode"] = 0
    clock.advance(60_001)
    await shop.send("wecom")
    assert (await shop.only("wecom")).status == "sent"
    assert msgspec.json.decode(receiver.requests[-1][2])["msgtype"] == "text"
    assert "secret" not in repr(shop.platform.settings.notifications)
    await shop.close()


async def test_killed_between_sending_and_recording_it_is_sent_again_under_the_same_id(
    platform: Platform, clock: ManualClock, tmp_path: Path
):
    file = tmp_path / "n.sqlite"
    database = SqliteDatabase("notifications", file)
    await migrate(database, History(MIGRATIONS), clock.now_ms())
    shop = build_shop(platform, clock, database)
    await shop.paid()
    script = Path(__file__).with_name("sending_once.py")
    async with PostOffice() as office:
        for crash_at, later_ms, ended in (
            ("notifications.claimed", 0, -signal.SIGKILL),
            ("notifications.sent-not-recorded", LEASE_MS, -signal.SIGKILL),
            ("", 2 * LEASE_MS, 0),
            ("", 3 * LEASE_MS, 0),
        ):
            environment = {
                **os.environ,
                "DOORBUSTER_CRASH_AT": crash_at,
                "PYTHONPATH": str(Path(__file__).parents[2]),
            }
            process = await asyncio.create_subprocess_exec(
                sys.executable, script, file, str(office.port), str(clock.now_ms() + later_ms), env=environment
            )
            async with asyncio.timeout(60):
                assert await process.wait() == ended
        row = await shop.only("email")
        assert (row.status, row.claims) == ("sent", 3)
        assert [letter["Message-ID"] for letter in office.letters] == [f"<{row.id}@shop.example>"] * 2
    assert len(await shop.rows(messages)) == 3
    await database.close()


@pytest.mark.parametrize("address", ["ann@example.org", "a`|{}~+tag@x-y.example", "'@localhost", "a.b.c@1.example"])
async def test_whatever_counts_as_an_address_can_stand_in_a_letter(shop: NotifyingShop, address: str):
    assert is_email(address)
    content = msgspec.json.encode(Mail("s", "t", "<p>h</p>"))
    letter = Mailing(shop.platform.settings.notifications).letter(
        Message(1, "orders-1", "email", 1, 1, "welcome", address, content, 1, 1, 0)
    )
    assert letter["To"] == address
    assert b"To: " + address.encode() in letter.as_bytes()
