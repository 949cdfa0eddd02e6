"""How many live connections there may be, and who may open one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Protocol

from doorbuster.kernel.errors import Busy, Forbidden, TooMany
from doorbuster.platform.fallback import FeatureOff

UNNAMED_SHARE = 4
"""At most a quarter of the connections may wait for their first message, so that strangers leave room for others."""
RETRY_AFTER_S = 5


class LiveLimits(Protocol):
    """The bounds; the settings' section `live` keeps them."""

    @property
    def connections_max(self) -> int: ...
    @property
    def connections_per_account_max(self) -> int: ...
    @property
    def origins(self) -> Sequence[str]: ...


class LiveConnectionsFull(Busy):
    """This server holds as many WebSockets and event streams as it may. Try again, or another server."""

    slug = "live-connections-full"
    title = "Too many live connections are open"


class TooManyConnections(TooMany):
    """Close one of the account's WebSockets or event streams first."""

    slug = "too-many-connections"
    title = "This account has too many live connections open"


class OriginRefused(Forbidden):
    slug = "origin-refused"
    title = "Pages of this origin may not connect"


class Place:
    """One connection's share of the bounds."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._account_id: int | None = None

    def name(self, account_id: int) -> None:
        """It is this account's from now on. Raises TooManyConnections."""
        self._places.name(account_id)
        self._account_id = account_id

    @property
    def account_id(self) -> int | None:
        return self._account_id


class Places:
    """The live connections of one process."""

    def __init__(self, settings: LiveLimits, enabled: Callable[[], bool] = lambda: True) -> None:
        self._settings = settings
        self._enabled = enabled
        self._open = 0
        self._of_account: Counter[int] = Counter()

    @property
    def open(self) -> int:
        return self._open

    @property
    def unnamed(self) -> int:
        """Connections of which it is not known yet whose they are."""
        return self._open - self._of_account.total()

    @contextmanager
    def taken(self, account_id: int | None) -> Generator[Place]:
        """A place for as long as the block lasts. Raises FeatureOff, LiveConnectionsFull, TooManyConnections."""
        if not self._enabled():
            raise FeatureOff(retry_after_s=RETRY_AFTER_S)
        most = self._settings.connections_max
        if self._open >= most or (account_id is None and self.unnamed >= max(1, most // UNNAMED_SHARE)):
            raise LiveConnectionsFull(retry_after_s=RETRY_AFTER_S)
        place = Place(self)
        if account_id is not None:
            place.name(account_id)
        self._open += 1
        try:
            yield place
        finally:
            self._open -= 1
            if place.account_id is not None:
                self._leave(place.account_id)

    def name(self, account_id: int) -> None:
        if self._of_account[account_id] >= self._settings.connections_per_account_max:
            raise TooManyConnections(
                f"at most {self._settings.connections_per_account_max} at a time", retry_after_s=RETRY_AFTER_S
            )
        self._of_account[account_id] += 1

    def _leave(self, account_id: int) -> None:
        self._of_account[account_id] -= 1
        if not self._of_account[account_id]:
            del self._of_account[account_id]


def check_origin(settings: LiveLimits, origin: bytes | None) -> None:
    """Raises OriginRefused. Only browsers say where a page comes from; what is no browser could say anything."""
    if origin is not None and settings.origins and origin.decode("latin-1") not in settings.origins:
        raise OriginRefused
