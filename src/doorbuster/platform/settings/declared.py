"""Runtime settings come in groups: a frozen Struct with bounds, declared once under a dotted name.

    class ClaimLimits(Struct, frozen=True, forbid_unknown_fields=True):
        per_second: Annotated[int, Meta(ge=1, le=1_000_000)] = 500

    CLAIM_LIMITS = declare("limits.claims", ClaimLimits, ClaimLimits())

What is stored of a group are the fields somebody has set; the others have the values of the default, so that a group
may get fields, and better defaults, in a later version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from doorbuster.platform.settings.tree import WrongSetting, named_error

T = TypeVar("T", bound=Struct)
Fields = dict[str, Any]
"""Fields of a group that somebody has set, by name, as JSON has them."""

NAME_MAX = 100
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


class UnknownSetting(WrongSetting):
    """Nobody has declared it."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "there is no such setting")


@dataclass(frozen=True, eq=False)
class Declared(Generic[T]):
    """A group of runtime settings. To be made by `declare`."""

    name: str
    type: type[T]
    default: T
    validate: Callable[[T], None] | None = None

    def value_of(self, fields: Fields) -> T:
        """The default with `fields` on top. Raises WrongSetting with the dotted key."""
        try:
            value = msgspec.convert({**msgspec.to_builtins(self.default), **fields}, self.type)
        except msgspec.ValidationError as error:
            wrong = named_error(error)
            inner = "" if wrong.key == "settings" else f".{wrong.key}"
            raise WrongSetting(f"{self.name}{inner}", wrong.problem) from error
        if self.validate is not None:
            self.validate(value)
        return value

    def field_names(self) -> tuple[str, ...]:
        return self.type.__struct_encode_fields__


_declared: dict[str, Declared[Any]] = {}


def declare(name: str, kind: type[T], default: T, validate: Callable[[T], None] | None = None) -> Declared[T]:
    """Declares a group, once per process, where a module is loaded: its name is then known to everybody.

    `validate` looks at what bounds of single fields cannot say, and raises WrongSetting with the key. It is also called
    in processes that only follow, so it must not do I/O.
    Raises ValueError for a name that is taken or malformed, TypeError for a type that is not fit, and WrongSetting for
    a default that its own bounds refuse.
    """
    if len(name) > NAME_MAX or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for runtime settings: dotted words in small letters")
    if any(name == taken or name.startswith(f"{taken}.") or taken.startswith(f"{name}.") for taken in _declared):
        raise ValueError(f"the runtime settings {name} are declared already, or others within or around them")
    if not (kind.__struct_config__.frozen and kind.__struct_config__.forbid_unknown_fields):
        raise TypeError(f"{kind.__name__} must be a Struct with frozen=True and forbid_unknown_fields=True")
    declared = Declared(name, kind, default, validate)
    declared.value_of({})
    _declared[name] = declared
    return declared


def all_declared() -> Mapping[str, Declared[Any]]:
    """Every group that was declared in this process, by name, in order."""
    return {name: _declared[name] for name in sorted(_declared)}


def declared_as(name: str) -> Declared[Any]:
    """Raises UnknownSetting."""
    found = _declared.get(name)
    if found is None:
        raise UnknownSetting(name)
    return found


def forget(declared: Declared[Any]) -> None:
    """Takes a declaration back; for tests, which declare groups of their own."""
    _declared.pop(declared.name, None)
