"""The mail catcher over a real connection, with a mail client that is not ours, and with rude ones."""

from __future__ import annotations

import asyncio
import json
import smtplib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import aiosmtplib
import pytest

from doorbuster.lab.demo.mail import Letter, mail_catcher
from doorbuster.lab.mail_catcher import (
    HOST,
    LINE_BYTES_MAX,
    LINES_OPEN_MAX,
    MAIL_BYTES_MAX,
    RECIPIENTS_MAX,
    MailCatcher,
)

SENDER = "shop@doorbuster.example"


def letter(subject: str, text: str) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = SENDER, "mei@customer.example", subject
    mail.set_content(text)
    return mail


@asynccontextmanager
async def catching(folder: Path) -> AsyncIterator[int]:
    """Its port."""
    async with await MailCatcher(folder).serve() as server:
        yield server.sockets[0].getsockname()[1]


async def said(port: int, *lines: bytes) -> list[bytes]:
    """What is answered to these lines, up to the end of the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"".join(lines))
    writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer.splitlines()


def kept(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.eml"))]


async def test_an_e_mail_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    async with catching(tmp_path) as port:
        text = ".\n..leading full stops\n.\nand an end"
        for subject in ("Order 1 is paid", "订单 2 已付款"):
            await aiosmtplib.send(letter(subject, text), hostname=HOST, port=port, start_tls=False)
    mails = [message_from_bytes(each, policy=SMTP) for each in kept(tmp_path)]
    assert [str(mail["Subject"]) for mail in mails] == ["Order 1 is paid", "订单 2 已付款"]
    assert [mail.get_content().replace("\r\n", "\n") for mail in mails] == [f"{text}\n"] * 2
    assert {(str(mail["Return-Path"]), str(mail["Delivered-To"])) for mail in mails} == {
        (f"<{SENDER}>", "mei@customer.example")
    }


async def test_one_connection_brings_several_to_several(tmp_path: Path) -> None:
    def send(port: int) -> None:
        with smtplib.SMTP(HOST, port) as client:
            client.sendmail(SENDER, ["a@x.example", "b@x.example"], b"Subject: one\r\n\r\n1\r\n")
            client.sendmail(SENDER, ["c@x.example"], b"Subject: two\r\n\r\n2\r\n")

    async with catching(tmp_path) as port:
        await asyncio.to_thread(send, port)
    first, second = kept(tmp_path)
    envelope = f"Return-Path: <{SENDER}>\r\nDelivered-To: a@x.example\r\nDelivered-To: b@x.example\r\n"
    assert first == f"{envelope}Subject: one\r\n\r\n1\r\n".encode()
    assert b"Delivered-To: c@x.example\r\nSubject: two" in second


@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        ((b"DATA\r\n", b"RCPT TO:<a@x>\r\n", b"QUIT\r\n"), [b"503", b"503", b"221"]),
        ((b"MAIL FROM:<>\r\n", b"RCPT TO:<>\r\n", b"QUIT\r\n"), [b"250", b"503", b"221"]),
        ((b"MAIL FROM: a b\r\n", b"VRFY x\r\n", b"NOOP\r\n"), [b"502", b"502", b"250"]),
        ((b"MAIL FROM:<a@x>\r\n", b"RSET\r\n", b"RCPT TO:<b@x>\r\n"), [b"250", b"250", b"503"]),
        ((b"x" * (LINE_BYTES_MAX + 1) + b"\r\n",), [b"500"]),
    ],
)
async def test_what_is_out_of_place_is_refused(tmp_path: Path, lines: tuple[bytes, ...], answers: list[bytes]) -> None:
    async with catching(tmp_path) as port:
        greeting, *rest = await said(port, *lines)
    assert greeting.startswith(b"220 ")
    assert [answer[:3] for answer in rest] == answers
    assert kept(tmp_path) == []


async def test_a_message_that_is_too_large_is_refused_and_the_next_one_kept(tmp_path: Path) -> None:
    line = b"x" * 998 + b"\r\n"
    start = (b"MAIL FROM:<a@x>\r\n", b"RCPT TO:<b@x>\r\n", b"DATA\r\n")
    large = line * (MAIL_BYTES_MAX // len(line) + 1)
    async with catching(tmp_path) as port:
        answers = await said(port, *start, large, b".\r\n", *start, b"Subject: small\r\n\r\n", b".\r\n", b"QUIT\r\n")
    assert [answer[:3] for answer in answers] == [b"220", *(b"250 250 354 552 250 250 354 250 221".split())]
    (small,) = kept(tmp_path)
    assert small.endswith(b"Subject: small\r\n\r\n")


async def test_a_message_without_an_end_is_not_kept(tmp_path: Path) -> None:
    async with catching(tmp_path) as port:
        await said(port, b"MAIL FROM:<a@x>\r\n", b"RCPT TO:<b@x>\r\n", b"DATA\r\n", b"Subject: half\r\n")
    assert kept(tmp_path) == []


async def test_recipients_are_bounded(tmp_path: Path) -> None:
    async with catching(tmp_path) as port:
        answers = await said(port, b"MAIL FROM:<a@x>\r\n", *[b"RCPT TO:<b@x>\r\n"] * (RECIPIENTS_MAX + 1))
    assert answers[-1].startswith(b"452")
    assert [answer[:3] for answer in answers[1:-1]] == [b"250"] * (RECIPIENTS_MAX + 1)


async def test_connections_are_bounded_and_places_come_back(tmp_path: Path) -> None:
    async with catching(tmp_path) as port:
        lines = [await asyncio.open_connection(HOST, port) for _ in range(LINES_OPEN_MAX)]
        for reader, _ in lines:
            assert (await reader.readline()).startswith(b"220")
        assert (await said(port))[0].startswith(b"421")
        for _, writer in lines:
            writer.close()
        async with asyncio.timeout(30):
            while not (await said(port))[0].startswith(b"220"):
                await asyncio.sleep(0.01)


async def test_as_a_process_it_fills_the_mailboxes_and_ends_with_its_owner(tmp_path: Path) -> None:
    async with mail_catcher(tmp_path / "mail") as mailboxes:
        settings = mailboxes.settings
        port = int(settings["DOORBUSTER_NOTIFICATIONS_SMTP_PORT"])
        await aiosmtplib.send(letter("订单 2 已付款", "…"), hostname=HOST, port=port, start_tls=False)
        assert mailboxes.letters() == [Letter("mei@customer.example", "订单 2 已付款")]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, port)


def test_it_ends_when_its_standard_input_does(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "doorbuster.lab.mail_catcher", str(tmp_path / "mail")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as catcher:
        assert catcher.stdin is not None
        assert catcher.stdout is not None
        assert json.loads(catcher.stdout.readline())["host"] == HOST
        catcher.stdin.close()
        assert catcher.wait(30) == 0
