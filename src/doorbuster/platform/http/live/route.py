"""A WebSocket address: declared like every other route, with a policy that cannot be forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from doorbuster.kernel.principal import Role
from doorbuster.platform.http.live.socket import LiveSocket


class LiveRoute(Struct, frozen=True):
    """`path`, with at most one {parameter}: /v1/orders/{order_id}/live.

    `serve` gets a socket that is open and authenticated as one of `roles`, and the parameter's text ("" without one).
    The connection is closed when it returns. ShopErrors that it raises are told and close the connection.
    """

    path: str
    roles: tuple[Role, ...]
    serve: Callable[[LiveSocket, str], Awaitable[None]]
    summary: str
    tags: tuple[str, ...]
    description: str = ""
    items: tuple[type[Struct], ...] = ()
    """What the rows of its stream are, if it is one."""
    told: tuple[type[Struct], ...] = ()
    heard: tuple[type[Struct], ...] = ()
    """Messages that it sends and understands beside those that all have. The AsyncAPI document describes them."""

    def __post_init__(self) -> None:
        if not self.roles:
            raise ValueError(f"{self.path}: a live route says who may open it")
        if not self.tags or not self.summary:
            raise ValueError(f"{self.path}: a live route is documented")
        if self.path.count("{") > 1:
            raise ValueError(f"{self.path}: a live route has at most one parameter")

    def parameter_in(self, path: str) -> str | None:
        """The parameter's text if `path` is one of this route; None if it is another's."""
        prefix, brace, rest = self.path.partition("{")
        if not brace:
            return "" if path == self.path else None
        suffix = rest.partition("}")[2]
        if not (path.startswith(prefix) and path.endswith(suffix)):
            return None
        parameter = path[len(prefix) : len(path) - len(suffix)]
        return parameter if parameter and "/" not in parameter else None
