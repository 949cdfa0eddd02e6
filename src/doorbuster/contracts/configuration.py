"""Configuration: settings that change while the shop runs."""

from __future__ import annotations

from doorbuster.kernel.errors import Conflict, Invalid, NotFound


class SettingUnknown(NotFound):
    """No part of this version of the shop has a setting of this name; `key` is the name."""

    slug = "setting-unknown"
    title = "There is no such setting"


class SettingInvalid(Invalid):
    """`key` names the setting down to its field; what was in force stays in force."""

    slug = "setting-invalid"
    title = "A setting cannot have this value"


class SettingsChanged(Conflict):
    """`version` is the current one. Nothing was written: look at what has changed, and decide again."""

    slug = "settings-changed"
    title = "The settings were changed in the meantime; read them again"


class SettingsVersionNotFound(NotFound):
    """It has never been, or is so old that its history was forgotten."""

    slug = "settings-version-not-found"
    title = "There is no such version of the settings to go back to"
