"""Every bootstrap setting, with a default that works on one machine.

Sources, later ones win: defaults, `doorbuster.toml` (or `--config`), `DOORBUSTER_SECTION_KEY`. A key that does not
exist or has a wrong value stops the start and is named.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_type_hints

import msgspec
from msgspec import Meta, Struct

PREFIX = "DOORBUSTER_"
_NOT_SETTINGS = {"DOORBUSTER_CRASH_AT", "DOORBUSTER_CONFIG", "DOORBUSTER_RESOLVED", "DOORBUSTER_STAFF_PASSWORD"}

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
HttpUrl = Annotated[str, Meta(pattern=r"^(https?://[!-~]+)?\Z")]
WebhookSecret = Annotated[str, Meta(min_length=16)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class WrongSetting(Exception):
    """A setting that does not exist or has a wrong value."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class DatabaseSettings(Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """Empty: SQLite files in the data folder. Else postgresql://user:password@host:port/database."""
    pool_size: Annotated[int, Meta(ge=1, le=100)] = 4
    """Connections per context and process."""
    allow_volatile: bool = False
    """Start although the database may lose acknowledged commits."""


class HttpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: Port = 8000
    public_url: HttpUrl = ""
    """Where others reach this server (webhooks of payment providers); default: http://host:port."""
    body_bytes_max: Annotated[int, Meta(ge=1024, le=64 * 1024 * 1024)] = 64 * 1024
    request_timeout_s: Seconds = 5.0


class AuthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[str, ...] = ()
    """Signing keys "id:base64url of 32 bytes"; the first one signs. Empty: kept in the data folder."""
    access_token_s: Annotated[int, Meta(ge=10, le=86_400)] = 900
    refresh_token_s: Annotated[int, Meta(ge=60, le=366 * 86_400)] = 30 * 86_400
    hashing_at_once: Annotated[int, Meta(ge=1, le=64)] = 2
    """Password hashes computed at the same time (each takes 64 MiB and a core for some 0.1 s)."""


class FlashSaleSettings(Struct, frozen=True, forbid_unknown_fields=True):
    batch_max: Count = 512
    waiting_max: Count = 8192


class PaymentsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    simulator_url: HttpUrl = ""
    """Base address of the payment simulator; empty: no provider is connected."""
    webhook_secrets: tuple[WebhookSecret, ...] = ()
    """Accepted secrets, newest first, of at least 16 signs. Empty: kept in the data folder."""
    webhook_tolerance_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    provider_timeout_s: Seconds = 5.0


class ProcessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    back_room: bool = True
    """Consumers and deadlines run in a second process, so that they never share the shop door's core."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool | None = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    data: str = "data"
    """The folder of the embedded stores and of generated secrets."""
    database: DatabaseSettings = DatabaseSettings()
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    flash_sale: FlashSaleSettings = FlashSaleSettings()
    payments: PaymentsSettings = PaymentsSettings()
    process: ProcessSettings = ProcessSettings()

    @property
    def folder(self) -> Path:
        return Path(self.data)


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Reads the tree. `overrides` are dotted keys, from the command line. Raises WrongSetting."""
    environment = os.environ if environment is None else environment
    tree = _from_file(file or _default_file(environment))
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _put(tree, _dotted(name), value)
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(tree, key, value)
    try:
        return msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise _named(error) from error


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
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
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
    except msgspec.DecodeError as error:
        raise WrongSetting(key, "looks like a list but is not valid JSON") from error


def _named(error: msgspec.ValidationError) -> WrongSetting:
    """msgspec says "... - at `$.http.port`" or "unknown field `x`": the key comes first in ours."""
    message = str(error)
    path = re.search(r" - at `\$\.?([^`]*)`", message)
    where = path[1] if path else ""
    problem = message[: path.start()] if path else message
    if unknown := re.search(r"unknown field `([^`]+)`", problem):
        where = f"{where}.{unknown[1]}" if where else unknown[1]
        problem = "there is no such setting"
    return WrongSetting(where or "settings", problem)
