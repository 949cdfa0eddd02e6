"""Requests whose end is plain without a parser, so that refusing them costs next to nothing.

Whatever is not plain beyond doubt is not judged here but left to the parser; so this never disagrees with it about
where a request ends, or whether its connection stays open.
"""

from __future__ import annotations

import re

_HEADERS = (
    rb"(?:(?!content-length|transfer-encoding|connection(?!: keep-alive\r)|expect|upgrade)"
    rb"[!#$%&'*+.^_`|~0-9a-z-]++: ?[^\r\n\0]*+\r\n)*+"
)
_PLAIN = re.compile(
    rb"(?-i:(GET|POST|PUT|PATCH|DELETE) (/[!-$&->@-~]*+)(?:\?[!-~]*+)? HTTP/1\.1\r\n)"
    rb"%b(?:content-length: ([0-9]{1,9})\r\n%b)?\r\n" % (_HEADERS, _HEADERS),
    re.IGNORECASE,
)
"""A path with `%` in it is not plain: it may be another one than it looks."""


def plain_request(data: bytes) -> tuple[str, str] | None:
    """Method and path if `data` is one whole HTTP/1.1 request that leaves its connection open; None if in doubt."""
    found = _PLAIN.match(data)
    if found is None:
        return None
    method, path, length = found.groups()
    if len(data) - found.end() != int(length or 0):
        return None
    return method.decode(), path.decode()
