"""The mail server of the demo, as a process of its own, and what lies in the mailboxes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import msgspec
from msgspec import Struct

from doorbuster.lab.demo.shop_process import READY_TIMEOUT_S, ShopFailed, stop


class Letter(Struct, frozen=True):
    """An e-mail that was delivered."""

    recipient: str
    subject: str


class _Ready(Struct, frozen=True):
    host: str
    port: int


class Mailboxes:
    """What the mail server has taken in."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.folder = folder
        self._host = host
        self._port = port

    @property
    def settings(self) -> dict[str, str]:
        """How a shop is told to send its e-mail here."""
        return {
            "DOORBUSTER_NOTIFICATIONS_SMTP_HOST": self._host,
            "DOORBUSTER_NOTIFICATIONS_SMTP_PORT": str(self._port),
            "DOORBUSTER_NOTIFICATIONS_SMTP_TLS": "none",
            "DOORBUSTER_NOTIFICATIONS_MAIL_FROM": "shop@doorbuster.example",
        }

    def letters(self) -> Sequence[Letter]:
        """All of them, oldest first."""
        return [_read(file) for file in sorted(self.folder.glob("*.eml"))]


def _read(file: Path) -> Letter:
    mail = message_from_bytes(file.read_bytes(), policy=SMTP)
    return Letter(str(mail["Delivered-To"]), str(mail["Subject"]))


@asynccontextmanager
async def mail_catcher(folder: Path) -> AsyncGenerator[Mailboxes]:
    """A mail server that keeps what it gets in `folder`. Raises ShopFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doorbuster.lab.mail_catcher", str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for whoever started us
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = await process.stdout.readline()
        if not line:
            raise ShopFailed("the mail server did not start")
        ready = msgspec.json.decode(line, type=_Ready)
        yield Mailboxes(folder, ready.host, ready.port)
    finally:
        await stop(process)
