"""Keeps a transaction open in the middle of its work, on either database."""

from __future__ import annotations

import asyncio
import threading
import time

import sqlalchemy as sa

from doorbuster.platform.sql.database import Tx

PATIENCE_S = 10


class Gate:
    """`hold(tx)` inside the transaction; `await entered()` and `open()` outside."""

    def __init__(self) -> None:
        self._entered, self._opened = threading.Event(), threading.Event()

    def hold(self, tx: Tx) -> None:
        """Waits as PostgreSQL's transactions can: by asking the database something."""
        self._entered.set()
        give_up_s = time.monotonic() + PATIENCE_S
        while not self._opened.is_set():
            assert time.monotonic() < give_up_s
            tx.execute(sa.text("SELECT 1"))

    async def entered(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self._entered.is_set():
                await asyncio.sleep(0.001)

    def open(self) -> None:
        self._opened.set()
