"""A person's WebSocket to the shop, in JSON."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from doorbuster.lab.demo.people import PATIENCE_S, Person
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.stampede import Pool

ITEMS_MAX = 10_000


class Listener:
    """Open and greeted while entered."""

    def __init__(self, shop: Pool, person: Person, path: str) -> None:
        self._url = f"ws://{shop.target.host_header}{shop.target.prefix}{path}"
        self._person = person
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(
                self._url, additional_headers=self._person.authorization, open_timeout=PATIENCE_S, proxy=None
            )
        except (OSError, WebSocketException) as error:
            raise ShopFailed(f"{self._person.name}: {self._url} could not be opened: {error!r}") from error
        await self.until("ready")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            await self._socket.close()

    def cut(self) -> None:
        """The connection breaks, as in a tunnel: no good-bye."""
        self._open.transport.abort()

    async def say(self, **message: object) -> None:
        """Raises ShopFailed."""
        try:
            await self._open.send(msgspec.json.encode(message).decode())
        except WebSocketException as error:
            raise ShopFailed(f"{self._person.name}: {self._url} broke: {error!r}") from error

    async def next(self) -> dict[str, Any]:
        """The next message. Raises ShopFailed if none comes."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return msgspec.json.decode(await self._open.recv(), type=dict[str, Any])
        except (TimeoutError, WebSocketException) as error:
            raise ShopFailed(f"{self._person.name}: nothing more came over {self._url}: {error!r}") from error

    async def until(self, kind: str, kept: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The next message of a kind; those before it are `kept`. Raises ShopFailed."""
        for _ in range(ITEMS_MAX):
            message = await self.next()
            if message["type"] == "error":
                raise ShopFailed(f"{self._person.name}: {self._url} says {message}")
            if message["type"] == kind:
                return message
            if kept is not None:
                kept.append(message)
        raise ShopFailed(f"{self._person.name}: no {kind} came over {self._url}")

    @property
    def _open(self) -> ClientConnection:
        assert self._socket is not None, "it is entered"
        return self._socket
