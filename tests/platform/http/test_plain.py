"""What is judged without the parser ends where the parser would say that it ends; the rest is left to the parser."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doorbuster.platform.http.plain import plain_request

GET = b"GET /v1/products?limit=20 HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/sales/1/claims HTTP/1.1\r\nhost: x\r\nAuthorization: Bearer a.b-c_d\r\n"


class Heard:
    """What httptools makes of it."""

    def __init__(self) -> None:
        self.whole = 0
        self.begun = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_message_complete(self) -> None:
        self.whole += 1


@pytest.mark.parametrize(
    ("data", "method", "path"),
    [
        (GET + b"\r\n", "GET", "/v1/products"),
        (GET + b"Connection: keep-alive\r\n\r\n", "GET", "/v1/products"),
        (POST + b"Content-Length: 2\r\nidempotency-key: k\r\n\r\n{}", "POST", "/v1/sales/1/claims"),
        (b"PUT /v1/carts/1/delivery HTTP/1.1\r\ncontent-length: 0\r\n\r\n", "PUT", "/v1/carts/1/delivery"),
    ],
)
def test_ordinary_requests_are_plain(data: bytes, method: str, path: str):
    assert plain_request(data) == (method, path)


@pytest.mark.parametrize(
    "data",
    [
        GET,  # not whole
        GET + b"\r\nGET",  # more than one
        POST + b"content-length: 3\r\n\r\n{}",
        POST + b"content-length: 1\r\n\r\n{}",
        POST + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"content-length:2\n\r\n\r\n{}",  # a bare line feed
        POST + b"x: y\n content-length: 2\r\n\r\n{}",
        POST + b"content-length: +2\r\n\r\n{}",
        POST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
        GET + b"connection: close\r\n\r\n",
        GET + b"connection: keep-alive, close\r\n\r\n",
        GET + b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"get / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n",  # its refusal has no body
        b"GET /v1/%70ayments HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_whatever_is_in_doubt_is_left_to_the_parser(data: bytes):
    assert plain_request(data) is None


_NAMES = [
    "content-length",
    "Content-Length",
    "transfer-encoding",
    "connection",
    "x-a",
    "host",
    "expect",
    "",
    " x",
    "x ",
]
_VALUES = ["0", "2", "3", "2, 2", "chunked", "close", "keep-alive", "identity", "\t2", "a\x00b", "é", ""]
_ENDS = ["\r\n", "\n", "\r", "\r\n "]
_LINES = st.tuples(st.sampled_from(_NAMES), st.sampled_from([":", ": ", " : "]), st.sampled_from(_VALUES))
_HEADS = st.lists(st.tuples(_LINES, st.sampled_from(["\r\n", "\r\n", "\r\n", *_ENDS])), max_size=4)


@given(
    line=st.sampled_from(["GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.1\r\n", "POST / HTTP/1.1\n"]),
    head=_HEADS,
    body=st.sampled_from(["", "{}", "{}\r\n", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"]),
)
@example(line="POST /a?b HTTP/1.1\r\n", head=[(("Content-Length", ": ", "2"), "\r\n")], body="{}")
def test_what_is_plain_is_one_whole_request_to_the_parser_too(line: str, head: Any, body: str):
    lines = "".join("".join(parts) + end for parts, end in head)
    data = f"{line}{lines}\r\n{body}".encode("latin-1")
    if plain_request(data) is None:
        return
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    try:
        parser.feed_data(data)
    except httptools.HttpParserError:
        assert not heard.whole  # it is refused either way
        return
    assert (heard.begun, heard.whole) == (1, 1)
    assert parser.should_keep_alive()
