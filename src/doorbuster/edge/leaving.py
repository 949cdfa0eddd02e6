"""A client that goes away ends the work that was done for it, where that work may end anywhere.

The server tells (`CLIENT_GONE` in the scope), so nobody has to watch: a task that waits for the disconnection of every
request would cost more than most requests.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from doorbuster.platform.http.raw import CLIENT_GONE, Scope


class EndsWithClient:
    """`with EndsWithClient(scope):` the block is cancelled when the client leaves, and that ends here: nobody is left
    to be told. Any other cancellation goes on."""

    __slots__ = ("_scope", "_task", "gone")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.gone = False
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._scope[CLIENT_GONE] = self._cancel

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        self._scope.pop(CLIENT_GONE, None)
        if not self.gone:
            return False
        assert self._task is not None
        others = self._task.uncancel()
        return kind is asyncio.CancelledError and others == 0

    def _cancel(self) -> None:
        self.gone = True
        assert self._task is not None
        self._task.cancel()
