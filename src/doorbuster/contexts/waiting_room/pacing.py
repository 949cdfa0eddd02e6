"""How many people are let in, and how fast: settings that change while the shop runs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.platform.settings.declared import declare
from doorbuster.platform.settings.tree import WrongSetting

Rate = Annotated[float, Meta(ge=0.1, le=100_000)]


class RoomSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`per_s` fixes the rate; without it the rate follows what the claim path is measured to carry."""

    per_s: Rate | None = None
    per_s_start: Rate = 100
    """Where the search begins."""
    per_s_min: Rate = 5
    per_s_max: Rate = 5_000
    wait_target_ms: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """Claims that wait longer than this for their answer slow the release down."""
    admitted_for_s: Annotated[int, Meta(ge=5, le=3_600)] = 120
    """How long an admission is good for."""
    unused_max: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    """Admissions of one sale that may be open at once."""


def check(settings: RoomSettings) -> None:
    if not settings.per_s_min <= settings.per_s_start <= settings.per_s_max:
        raise WrongSetting("waiting_room.per_s_start", "must lie between per_s_min and per_s_max")


WAITING_ROOM = declare("waiting_room", RoomSettings, RoomSettings(), check)
