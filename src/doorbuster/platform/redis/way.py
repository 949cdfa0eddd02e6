"""What one server and a cluster are asked alike. Errors are the library's, the neighbour's, and TimeoutError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from doorbuster.platform.redis.scripts import Call, Source

Words = Sequence[object]


class Way(Protocol):
    def place_of(self, key: str) -> str:
        """Which server is asked for this key, as far as is known without asking anybody."""
        ...

    async def places(self) -> Sequence[str]:
        """All that have keys."""
        ...

    async def ask(self, words: Words, at: str | None = None) -> Any:
        """The answer of the server `at`, else of the one that has the key, the second of `words`."""
        ...

    async def run(self, source: Source, keys: Sequence[str], words: Words) -> Any: ...

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """An answer for each call, or the error that it got."""
        ...

    async def close(self) -> None: ...
