"""What a bounded context gets to stand on, and what it offers to the process that houses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from doorbuster.kernel.clock import Clock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.neighbour import Neighbours
from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from doorbuster.platform.http.live.route import LiveRoute
    from doorbuster.platform.http.raw import RawRoute

Room = Literal["front", "back"]
"""The front answers shoppers; the back room works off what they left behind."""


@dataclass(frozen=True)
class Platform:
    """What every context is built on."""

    settings: Settings
    clock: Clock
    ids: Snowflake
    wakeups: Wakeups
    runtime: Runtime = field(default_factory=Runtime)
    """Settings that change while the process runs: `runtime.live(DECLARED)()`."""
    neighbours: Neighbours = field(default_factory=Neighbours)
    """Whoever may be slow or gone is called through these."""


@dataclass(frozen=True)
class BackgroundTask:
    """A loop that runs until cancelled, in one room, or in every process whatever rooms it has."""

    name: str
    room: Room | Literal["every"]
    run: Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Faces:
    """How a context is reached over HTTP."""

    routes: Sequence[ControllerRouterHandler] = ()
    raw_routes: Sequence[RawRoute] = ()
    live_routes: Sequence[LiveRoute] = ()


@dataclass(frozen=True)
class Context:
    """A bounded context, built. `faces` is called only in a process that answers HTTP."""

    name: str
    database: Database
    history: History
    faces: Callable[[], Faces] = Faces
    consumers: Sequence[Consumer] = ()
    consumers_room: Room = "back"
    tasks: Sequence[BackgroundTask] = field(default=())
    keeps_idempotency_keys: bool = False
