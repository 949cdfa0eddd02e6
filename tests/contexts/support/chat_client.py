"""A client as an application would write one: it resends what was not acknowledged, and goes on where it stood."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

UNTIL_S = 60.0


@dataclass
class ChatClient:
    """`address` is asked before every connection. `seen`: what was received, in this order, over all connections."""

    conversation: int
    token: str
    address: Callable[[], str]
    unacknowledged: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    seen: list[tuple[int, str]] = field(default_factory=list)
    connections: int = 0
    socket: ClientConnection | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        """Connects, and connects anew, until cancelled."""
        while True:
            with contextlib.suppress(ConnectionClosed, InvalidHandshake, OSError):
                headers = {"Authorization": f"Bearer {self.token}"}
                async with connect(self.address(), additional_headers=headers, proxy=None) as socket:
                    self.connections += 1
                    await self._converse(socket)
            self.socket = None
            await asyncio.sleep(0.01)

    async def _converse(self, socket: ClientConnection) -> None:
        assert json.loads(await socket.recv())["type"] == "ready"
        last = self.seen[-1][0] if self.seen else 0
        await socket.send(json.dumps({"type": "resume", "after": {str(self.conversation): last}}))
        async with self.changed:
            self.socket = socket  # before what follows, or what is said meanwhile would be left out
            self.changed.notify_all()
        for client_id, text in list(self.unacknowledged.items()):
            await self._send(socket, client_id, text)
        async for told in socket:
            await self._hear(json.loads(told))

    async def _hear(self, told: Any) -> None:
        async with self.changed:
            if told["type"] == "message":
                self.seen.append((told["number"], told["text"]))
            elif told["type"] == "ack":
                self.acknowledged[told["client_id"]] = told["number"]
                self.unacknowledged.pop(told["client_id"], None)
            self.changed.notify_all()

    async def say(self, text: str) -> None:
        """Sent now if there is a connection, and again after each reconnection, until it is acknowledged."""
        client_id = text
        self.unacknowledged[client_id] = text
        if self.socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._send(self.socket, client_id, text)

    async def _send(self, socket: ClientConnection, client_id: str, text: str) -> None:
        message = {"type": "send", "conversation": str(self.conversation), "client_id": client_id, "text": text}
        await socket.send(json.dumps(message))

    def cut(self) -> None:
        """Loses the connection, without a word."""
        if self.socket is not None:
            self.socket.transport.abort()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(UNTIL_S), self.changed:
            await self.changed.wait_for(true)
