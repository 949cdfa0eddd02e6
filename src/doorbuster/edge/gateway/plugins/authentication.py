"""Who asks: the token is checked here, once, and its owner goes into the scope for everybody behind."""

from __future__ import annotations

from doorbuster.edge.entering import PRINCIPAL, principal_in
from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.settings import Authentication
from doorbuster.kernel.errors import Forbidden, Unauthenticated
from doorbuster.platform.http.raw import FIELDS
from doorbuster.platform.http.tokens import KeyRing


def authenticated(settings: Authentication, following: Handler, ring: KeyRing) -> Handler:
    """The handler raises Unauthenticated, InvalidToken, ExpiredToken, Forbidden."""
    needs_somebody = settings.required or bool(settings.roles)
    roles = frozenset(settings.roles)

    async def authenticate(exchange: Exchange) -> None:
        principal = exchange.scope[PRINCIPAL] = principal_in(exchange.scope[FIELDS], ring)
        if principal is None:
            if needs_somebody:
                raise Unauthenticated
        elif roles and principal.role not in roles:
            raise Forbidden(f"this needs the role {' or '.join(settings.roles)}")
        await following(exchange)

    return authenticate
