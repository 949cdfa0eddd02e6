"""Secrets that the settings do not give are generated once and kept in the data folder, readable by its owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import Settings, WrongSetting

FILE = "secrets.json"


class Secrets(Struct, frozen=True):
    """`token_keys` are "id:base64url", the first one signs; `webhook_secrets` newest first."""

    token_keys: tuple[str, ...]
    webhook_secrets: tuple[str, ...]

    def signing_keys(self) -> Sequence[Key]:
        """Raises ValueError: for a text that is no key, or two keys of one id, of which only one could verify."""
        keys = [Key.parse(text) for text in self.token_keys]
        if len({key.id for key in keys}) < len(keys):
            raise ValueError("two keys have the same id")
        return keys


def load_secrets(settings: Settings) -> Secrets:
    """Those of the settings; what they lack from the data folder, made there on the first start.

    Raises WrongSetting: for a key that is none, or a file that cannot be read.
    """
    kept = Secrets((), ())
    if not (settings.auth.keys and settings.payments.webhook_secrets):
        kept = _kept(settings.folder / FILE)
    found = Secrets(settings.auth.keys or kept.token_keys, settings.payments.webhook_secrets or kept.webhook_secrets)
    try:
        found.signing_keys()
    except ValueError as error:
        raise WrongSetting("auth.keys", str(error)) from error
    return found


def rotate(settings: Settings) -> Secrets:
    """Puts new secrets first and keeps one old of each, until the next rotation. Servers take it up at their start."""
    held = _kept(settings.folder / FILE)
    renewed = Secrets(
        (Key.generate().render(), *held.token_keys[:1]), (secrets.token_urlsafe(32), *held.webhook_secrets[:1])
    )
    _write(settings.folder / FILE, renewed, exclusive=False)
    return renewed


def _kept(file: Path) -> Secrets:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was first; its secrets are as good
            _write(file, Secrets((Key.generate().render(),), (secrets.token_urlsafe(32),)), exclusive=True)
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=Secrets)
        usable = bool(kept.signing_keys() and kept.webhook_secrets)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise WrongSetting(str(file), "cannot be read as secrets") from error
    if not usable:
        raise WrongSetting(str(file), "lacks secrets")
    return kept


def _write(file: Path, content: Secrets, *, exclusive: bool) -> None:
    """Whole or not at all, and never readable by others."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(msgspec.json.encode(content))
            opened.flush()
            os.fsync(opened.fileno())
        if exclusive:
            os.link(draft, file)
        else:
            draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
