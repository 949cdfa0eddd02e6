"""How much is logged, changed while the process runs."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from doorbuster.platform.settings.declared import declare
from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.telemetry.logs import set_log_level


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`level`: null for that of the bootstrap settings (process.log_level)."""

    level: Literal["debug", "info", "warning", "error"] | None = None


LOGS = declare("logs", LogSettings, LogSettings())


def follow_log_level(runtime: Runtime, otherwise: str) -> None:
    """From now on this process logs what `logs.level` says; `otherwise`, while that is not set."""
    live = runtime.live(LOGS)

    def use(value: LogSettings) -> None:
        set_log_level(value.level or otherwise)

    live.subscribe(use)
    use(live())
