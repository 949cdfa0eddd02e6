"""Where bootstrap settings come from.

Later ones win: defaults of the tree, defaults of the profile, `doorbuster.toml` (or `--config`), its section
`[profiles.NAME]`, `DOORBUSTER_SECTION_KEY`, the command line. A key that does not exist or has a wrong value stops the
start and is named.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import msgspec
from msgspec import Struct

from doorbuster.platform.settings.profiles import DEFAULTS, check_profile
from doorbuster.platform.settings.tree import Profile, Settings, WrongSetting, named_error

PREFIX = "DOORBUSTER_"
_NOT_SETTINGS = {"DOORBUSTER_CRASH_AT", "DOORBUSTER_CONFIG", "DOORBUSTER_RESOLVED", "DOORBUSTER_STAFF_PASSWORD"}


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Reads the tree. `overrides` are dotted keys, from the command line. Raises WrongSetting."""
    environment = os.environ if environment is None else environment
    told: dict[str, Any] = {}
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _put(told, _dotted(name), value)
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(told, key, value)
    of_file = _from_file(file or _default_file(environment))
    of_profiles = of_file.pop("profiles", {})
    profile = _profile(told.get("profile", of_file.get("profile", Settings().profile)))
    tree: dict[str, Any] = {}
    for key, value in DEFAULTS[profile].items():
        _put(tree, key, value)
    for layer in (of_file, _section_of(of_profiles, profile), told):
        _lay_over(tree, layer)
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise named_error(error) from error
    check_profile(settings)
    return settings


def _profile(name: object) -> Profile:
    """Raises WrongSetting."""
    for known in get_args(Profile):
        if name == known:
            return known
    raise WrongSetting("profile", f"must be one of {', '.join(get_args(Profile))}")


def _section_of(profiles: object, profile: Profile) -> dict[str, Any]:
    """What a file says for one profile. Raises WrongSetting, also for a profile that there is not."""
    if not isinstance(profiles, dict):
        raise WrongSetting("profiles", "must be a section")
    sections = cast("dict[str, object]", profiles)
    for name, section in sections.items():
        if name not in get_args(Profile):
            raise WrongSetting(f"profiles.{name}", f"must be one of {', '.join(get_args(Profile))}")
        if not isinstance(section, dict):
            raise WrongSetting(f"profiles.{name}", "must be a section")
        content = cast("dict[str, Any]", section)
        if "profile" in content:
            raise WrongSetting(f"profiles.{name}.profile", "a profile cannot choose another")
        try:  # also of those that are not in force: else a slip would show when the real thing starts
            msgspec.convert(content, Settings, strict=False)
        except msgspec.ValidationError as error:
            told = named_error(error)
            raise WrongSetting(f"profiles.{name}.{told.key}", told.problem) from error
    return cast("dict[str, Any]", sections.get(profile, {}))


def _lay_over(tree: dict[str, Any], layer: Mapping[str, Any], path: str = "") -> None:
    """Key by key. Raises WrongSetting where one is a section and the other a value."""
    for name, value in layer.items():
        below = tree.get(name)
        if isinstance(value, dict) and isinstance(below, dict):
            _lay_over(cast("dict[str, Any]", below), cast("dict[str, Any]", value), f"{path}{name}.")
        elif isinstance(value, dict) and below is not None:
            raise WrongSetting(f"{path}{name}", "must be a section")
        else:
            tree[name] = value


def _default_file(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get("DOORBUSTER_CONFIG"):
        return Path(named)
    default = Path("doorbuster.toml")
    return default if default.exists() else None


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise WrongSetting(str(file), f"cannot be read: {error}") from error


def _dotted(variable: str) -> str:
    """`DOORBUSTER_HTTP_BODY_BYTES_MAX` → `http.body_bytes_max`. Raises WrongSetting."""
    name = variable.removeprefix(PREFIX).lower()
    for section, kind in get_type_hints(Settings).items():
        if name == section and not _is_section(kind):
            return section
        if _is_section(kind) and name.startswith(f"{section}_"):
            return f"{section}.{name.removeprefix(f'{section}_')}"
    raise WrongSetting(variable, "there is no such setting")


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    *path, last = key.split(".")
    for name in path:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            raise WrongSetting(name, "must be a section")
        tree = cast("dict[str, Any]", inner)
    if isinstance(value, str) and value.startswith("["):
        value = _list_of(key, value)
    tree[last] = value


def _list_of(key: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WrongSetting(key, "looks like a list but is not valid JSON") from error
