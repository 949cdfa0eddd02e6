"""A WebSocket's life: refused with a problem before it is open, authenticated, served, and closed with a code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import msgspec
import structlog
from msgspec import Struct

from doorbuster.kernel.clock import Clock, rfc3339
from doorbuster.kernel.errors import Forbidden, ShopError, Unauthenticated
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.live.limits import LiveLimits, Places, check_origin
from doorbuster.platform.http.live.route import LiveRoute
from doorbuster.platform.http.live.socket import FAILED, NORMAL, TRY_LATER, LiveSocket, SocketGone, close_code
from doorbuster.platform.http.raw import Receive, Scope, Send, header
from doorbuster.platform.http.tokens import TOKEN_BYTES_MAX, ExpiredToken, KeyRing

AUTHENTICATE_WITHIN_S = 5.0
CLOSE_WITHIN_S = 2.0
"""For what is still in the queue, and for the close frame."""

log = structlog.get_logger("live")


class Auth(Struct, frozen=True, tag="auth", forbid_unknown_fields=True):
    """The first message of a client that cannot send headers, as browsers cannot."""

    token: str


class Ready(Struct, frozen=True, tag="ready"):
    """The first message to every client: from now on it is served. At `expires_at` the connection ends with 4401."""

    account_id: str
    expires_at: str


_auth = msgspec.json.Decoder(Auth)


class Live:
    """The live connections of a process, WebSockets and event streams."""

    def __init__(
        self, settings: LiveLimits, ring: KeyRing, clock: Clock, enabled: Callable[[], bool] = lambda: True
    ) -> None:
        """While not `enabled`, no new connection is taken."""
        self.places = Places(settings, enabled)
        self._settings = settings
        self._ring = ring
        self._clock = clock

    def expires_ms(self, scope: Scope) -> int:
        """When the token of the Authorization header, which the door has verified, ends."""
        value = header(scope, b"authorization")
        return 0 if value is None else self._ring.expires_ms(value[len(b"bearer ") :])

    def lifetime_s(self, expires_ms: int) -> float:
        return max(0.0, (expires_ms - self._clock.now_ms()) / 1000)

    async def serve(self, route: LiveRoute, parameter: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ShopErrors only before the connection is accepted."""
        check_origin(self._settings, header(scope, b"origin"))
        principal = cast("Principal | None", scope["principal"])
        if principal is not None:
            _check_role(route, principal)
        await receive()  # "websocket.connect"
        with self.places.taken(principal and principal.account_id) as place:
            await send({"type": "websocket.accept"})
            socket = LiveSocket(scope, receive, send)
            writing = asyncio.create_task(socket.write_out(), name="live-write")
            code, reason = FAILED, "internal error"
            try:
                try:
                    if principal is None:
                        principal, expires_ms = await self._authenticated(socket)
                        _check_role(route, principal)
                        place.name(principal.account_id)
                    else:
                        expires_ms = self.expires_ms(scope)
                    code, reason = await self._served(route, parameter, socket, principal, expires_ms, writing)
                except ShopError as error:
                    socket.send_error(error)
                    code, reason = close_code(error), error.slug
                except (SocketGone, OSError):
                    return
                except Exception:
                    log.exception("live connection failed", request_id=socket.request_id, path=scope["path"])
                await _close(socket, writing, send, code, reason)
            finally:
                writing.cancel()

    async def _authenticated(self, socket: LiveSocket) -> tuple[Principal, int]:
        """Who it is by the first message, and when the token ends. Raises Unauthenticated, SocketGone."""
        try:
            async with asyncio.timeout(AUTHENTICATE_WITHIN_S):
                token = _auth.decode(await socket.receive()).token.encode()
        except TimeoutError as error:
            raise Unauthenticated(f"no token came within {AUTHENTICATE_WITHIN_S:.0f} s") from error
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise Unauthenticated('the first message must be {"type":"auth","token":"…"}') from error
        return self._ring.verify(token[: TOKEN_BYTES_MAX + 1]), self._ring.expires_ms(token)

    async def _served(
        self,
        route: LiveRoute,
        parameter: str,
        socket: LiveSocket,
        principal: Principal,
        expires_ms: int,
        writing: asyncio.Task[None],
    ) -> tuple[int, str]:
        """Runs the route until it or the connection ends. Returns how to close; raises what the route raises."""
        socket.belongs_to(principal)
        expires = asyncio.get_running_loop().call_later(
            self.lifetime_s(expires_ms), socket.end, close_code(ExpiredToken()), ExpiredToken.slug
        )
        socket.send(Ready(str(principal.account_id), rfc3339(expires_ms)))
        serving = asyncio.ensure_future(route.serve(socket, parameter))
        waited: set[asyncio.Future[Any]] = {serving, writing, socket.ending}
        try:
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            expires.cancel()
            await _ended(serving)
            await socket.stop()
        if socket.ending in done:
            return socket.ending.result()
        if serving in done:
            serving.result()
            return NORMAL, ""
        writing.result()
        raise SocketGone


async def _ended(serving: asyncio.Future[None]) -> None:
    """A route that is still under way is cancelled; what it says to that, nobody asks."""
    if not serving.done():
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _check_role(route: LiveRoute, principal: Principal) -> None:
    """Raises Forbidden."""
    if principal.role not in route.roles:
        raise Forbidden(f"this needs the role {' or '.join(route.roles)}")


async def _close(socket: LiveSocket, writing: asyncio.Task[None], send: Send, code: int, reason: str) -> None:
    """Says why, after what was said before; but not to somebody who does not listen."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(CLOSE_WITHIN_S):
            if code != TRY_LATER and not writing.done():
                await socket.drained()
        writing.cancel()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await send({"type": "websocket.close", "code": code, "reason": reason})
