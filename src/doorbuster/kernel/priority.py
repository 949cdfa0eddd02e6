"""What goes first when not everything can: paying before claiming, claiming before looking, looking before counting."""

from __future__ import annotations

import re
from enum import IntEnum


class Priority(IntEnum):
    """The lower, the sooner: under pressure the highest number is refused first."""

    PAY = 0
    """Payments, refunds and what providers call back; and the questions whether the process is well."""
    CLAIM = 1
    """Claims, carts, orders, log-ins: whatever is on the way to a purchase, and every other change; and what operators
    look at, who need it most when the shop is full."""
    BROWSE = 2
    """Looking at things."""
    ANALYTICS = 3
    """Lists for merchants and staff, books, documentation: as useful in a minute."""


_PAY = re.compile(r"/(?:healthz|readyz)\Z|/v1/(?:payments|orders/[^/]+/(?:payments|refunds)\Z|refunds)")
_ANALYTICS = re.compile(
    r"/(?:docs|openapi\.json|problems)"
    r"|/v1/(?:merchant/|stock|warehouses|notifications/dead|statement|reports|audit|exports|metrics)"
)
_OPERATION = re.compile(r"/v1/(?:admin|config)(?:/|\Z)")
_READS = frozenset(("GET", "HEAD", "OPTIONS"))


def priority_of(method: str, path: str) -> Priority:
    """Of a request to the shop's own API. A route of the gateway may say otherwise; a caller may not."""
    if _PAY.match(path):
        return Priority.PAY
    if method not in _READS or _OPERATION.match(path):
        return Priority.CLAIM
    return Priority.ANALYTICS if _ANALYTICS.match(path) else Priority.BROWSE
