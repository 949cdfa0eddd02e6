"""The gate of the server: who is let in, decided as soon as a request's head has been read.

A refusal is written straight to the connection: no task, no application, a body made beforehand. Under ten times the
load nine of ten answers are refusals, so what they cost decides what is left for the tenth.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from itertools import count
from typing import Any

from doorbuster.kernel.errors import Overloaded
from doorbuster.kernel.priority import priority_of
from doorbuster.platform.http.plain import plain_request
from doorbuster.platform.http.problems import problem_of
from doorbuster.platform.http.raw import FAILED, NO_SNIFFING
from doorbuster.platform.shedding.shedder import Place, Shedder

_TIMEOUT, _REQUEST_ID = b"x-request-timeout-ms", b"x-request-id"
_GOOD_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOLD_REQUEST_ID = re.compile(rb"\r\nx-request-id: ([a-z0-9][a-z0-9._-]{0,63})\r\n", re.IGNORECASE)
_GOOD_TIMEOUT = re.compile(rb"[1-9][0-9]{0,6}")
_PROCESS = secrets.token_hex(4).encode()
_numbers = count(1)


class Gate:
    def __init__(self, shedder: Shedder) -> None:
        self.shedder = shedder
        self._retry_after_s = 0
        self._head = self._body = b""

    def admit(self, scope: Mapping[str, Any]) -> Place | None:
        """None: refuse."""
        method, path = scope["method"], scope["path"]
        return self.shedder.admit(priority_of(method, path), _kind(method, path), _left_s(scope))

    @property
    def is_full(self) -> bool:
        """Somebody would be refused."""
        return self.shedder.is_full

    def refuse_plain(self, data: bytes) -> bytes | None:
        """The whole answer if `data` is a request whose end is plain and for which there is no room."""
        request = plain_request(data)
        if request is None or not self.shedder.turns_away(priority_of(*request)):
            return None
        told = _TOLD_REQUEST_ID.search(data)
        return self._refusal(told[1] if told else _new_request_id(), b"\r\n\r\n", has_body=True)

    def leave(self, place: Place, scope: Mapping[str, Any], answered: bool) -> None:
        """`answered`: the client has the whole answer."""
        self.shedder.leave(place, answered and FAILED not in scope)

    def refusal(self, scope: Mapping[str, Any], keep_alive: bool) -> bytes:
        """The whole answer."""
        ending = b"\r\n\r\n" if keep_alive else b"\r\nconnection: close\r\n\r\n"
        return self._refusal(_request_id(scope), ending, has_body=scope["method"] != "HEAD")

    def _refusal(self, request_id: bytes, ending: bytes, has_body: bool) -> bytes:
        if self._retry_after_s != self.shedder.retry_after_s:
            self._write_once(self.shedder.retry_after_s)
        return b"%b%b%b%b" % (self._head, request_id, ending, self._body if has_body else b"")

    def _write_once(self, retry_after_s: int) -> None:
        self._retry_after_s = retry_after_s
        _, headers, body = problem_of(Overloaded(retry_after_s=retry_after_s), "")
        headers += [NO_SNIFFING, (b"content-length", b"%d" % len(body))]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self._head = b"HTTP/1.1 503 Service Unavailable\r\n%bx-request-id: " % lines
        self._body = body


def _kind(method: str, path: str) -> str:
    """Requests of one kind cost about the same: method and the first two segments, e.g. `POST /v1/sales`."""
    parts = path.split("/", 3)
    return f"{method} {'/'.join(parts[:3])}"


def _left_s(scope: Mapping[str, Any]) -> float | None:
    """What the caller says of its patience; nonsense is refused further in."""
    for name, value in scope["headers"]:
        if name == _TIMEOUT:
            return int(value) / 1000 if _GOOD_TIMEOUT.fullmatch(value) else None
    return None


def _request_id(scope: Mapping[str, Any]) -> bytes:
    """The caller's own if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _GOOD_REQUEST_ID.fullmatch(value):
            return value
    return _new_request_id()


def _new_request_id() -> bytes:
    return b"%b-s%x" % (_PROCESS, next(_numbers))
