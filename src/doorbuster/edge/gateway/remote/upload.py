"""A request's body on its way out, a part at a time: the next is asked for when the last is written."""

from __future__ import annotations

from collections.abc import AsyncIterator

from doorbuster.platform.http.problems import BodyTooLarge
from doorbuster.platform.http.raw import ClientGone, Receive, Scope, header


class Upload:
    """`failure` says why it broke off on our side, `awaited` whether the client is being waited for."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self.begun = False
        self.awaited = False
        self.failure: BodyTooLarge | ClientGone | None = None

    async def parts(self) -> AsyncIterator[bytes]:
        """Raises BodyTooLarge, ClientGone, which are kept in `failure` too: the client library wraps them."""
        size, more = 0, True
        self.begun = True
        while more:
            self.awaited = True
            message = await self._receive()
            self.awaited = False
            if message["type"] == "http.disconnect":
                self.failure = ClientGone()
                raise self.failure
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._bytes_max:
                self.failure = BodyTooLarge(limit_bytes=self._bytes_max)
                raise self.failure
            more = message.get("more_body", False)
            if part:
                yield part


def upload_of(scope: Scope, receive: Receive, bytes_max: int) -> Upload | None:
    """None if the request has no body. Raises BodyTooLarge if it says itself that it is too long."""
    length = header(scope, b"content-length")
    if length is not None and int(length) > bytes_max:  # the server has checked that it is a number
        raise BodyTooLarge(limit_bytes=bytes_max)
    if length is None and header(scope, b"transfer-encoding") is None:
        return None
    return None if length == b"0" else Upload(receive, bytes_max)
