"""Profiles: what differs between a developer's machine, tests and the real thing, by one name.

`DOORBUSTER_PROFILE=production`, or `profile = "production"` in the file, which may also have a section for each, such
as `[profiles.production.http]`.
"""

from __future__ import annotations

from collections.abc import Mapping

from doorbuster.platform.settings.tree import Profile, Settings, WrongSetting

DEFAULTS: Mapping[Profile, Mapping[str, object]] = {
    "development": {},
    "test": {"http.port": 0, "process.log_level": "warning"},
    "production": {"process.log_json": True},
}
"""On top of the tree's own, by dotted key. Files, environment and command line may say otherwise."""


def check_profile(settings: Settings) -> None:
    """No toys in production: what may lose acknowledged orders, or take them for paid. Raises WrongSetting."""
    if settings.profile != "production":
        return
    toys = {
        "database.allow_volatile": settings.database.allow_volatile,
        "payments.simulator_url": bool(settings.payments.simulator_url),
        "notifications.webhook_local": settings.notifications.webhook_local,
    }
    for key, is_used in toys.items():
        if is_used:
            raise WrongSetting(key, "is for development and tests; the profile is production")
