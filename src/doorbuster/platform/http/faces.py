"""What the faces of the contexts share: policies, the principal, ids and times on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Meta, Struct

from doorbuster.kernel.errors import Forbidden, Unauthenticated
from doorbuster.kernel.idempotency import checked_key
from doorbuster.kernel.money import AMOUNT_MAX, Money
from doorbuster.kernel.principal import ACCOUNT_ROLES, Principal, Role

AnyRequest = Request[Any, Any, Any]
Policy = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]
IdText = Annotated[str, Meta(pattern=r"^[0-9]{1,19}$", description="A 64-bit id in decimal")]
TimeText = Annotated[
    str,
    Meta(description="RFC 3339, UTC", examples=["2026-01-01T00:00:00.000Z"], extra_json_schema={"format": "date-time"}),
]


class MoneyBody(Struct, frozen=True, forbid_unknown_fields=True):
    """An amount in minor units (cents, fen) and its ISO 4217 currency."""

    amount: Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
    # With a length, because a pattern's `$` lets a line break through in Python.
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$", max_length=3)]

    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @classmethod
    def of(cls, money: Money) -> MoneyBody:
        return cls(money.amount, money.currency)


def public(_connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Policy: anybody. Declared, so that a forgotten policy differs from an open door."""


def allow(*roles: Role) -> Policy:
    """Policy: an authenticated account with one of these roles (any account if none is named; a guest only by name).

    Whose rows they may touch is the service's business.
    """
    allowed = roles or ACCOUNT_ROLES

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        principal = _principal_in(connection)
        if principal is None:
            raise Unauthenticated
        if principal.role not in allowed:
            raise Forbidden(f"this needs the role {' or '.join(allowed)}")

    _roles[guard] = allowed
    return guard


_roles: dict[object, tuple[Role, ...]] = {public: ()}


def roles_of(handler: BaseRouteHandler) -> tuple[Role, ...] | None:
    """Who may call a route: the roles of its policy, () for everybody, None if it declares no policy."""
    guards = cast("Sequence[object]", handler.guards or ())
    return next((_roles[guard] for guard in guards if guard in _roles), None)


def _principal_in(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal | None:
    found: object = cast("dict[str, object]", connection.scope).get("principal")
    return found if isinstance(found, Principal) else None


def principal_of(request: AnyRequest) -> Principal:
    """Who asks, on a route whose policy demands somebody. Raises Unauthenticated."""
    principal = _principal_in(request)
    if principal is None:
        raise Unauthenticated
    return principal


def idempotency_key_of(request: AnyRequest) -> str:
    """Raises IdempotencyKeyMissing, IdempotencyKeyInvalid."""
    return checked_key(request.headers.get("idempotency-key"))
