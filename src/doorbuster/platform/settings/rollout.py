"""What is stored under one name: the fields in force, and those that a part of the callers get already."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from doorbuster.platform.settings.declared import Fields
from doorbuster.platform.settings.tree import Label, WrongSetting, named_error

Percent = Annotated[float, Meta(ge=0, le=100)]
LABELS_MAX = 16
BUCKETS = 10_000
"""A percentage counts in hundredths."""


class Rollout(Struct, frozen=True, forbid_unknown_fields=True):
    """`value` is what callers with one of `labels` get, and `percent` of the others."""

    value: Fields
    percent: Percent = 0.0
    labels: Annotated[tuple[Label, ...], Meta(max_length=LABELS_MAX)] = ()


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of one group: the fields that differ from its default."""

    value: Fields = {}
    rollout: Rollout | None = None


_entry = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """The same bytes for the same content."""
    return msgspec.json.encode(entry, order="sorted")


def decode_entry(name: str, stored: bytes) -> Entry:
    """Raises WrongSetting with the name."""
    try:
        return _entry.decode(stored)
    except msgspec.ValidationError as error:
        wrong = named_error(error)
        raise WrongSetting(f"{name}.{wrong.key}", wrong.problem) from error
    except msgspec.DecodeError as error:
        raise WrongSetting(name, f"is not valid JSON: {error}") from error


def bucket_of(name: str, key: str | int) -> int:
    """Where a caller stands among `BUCKETS`: the same for ever and in every process, and another one per group, so that
    it is not always the same callers who get everything first."""
    digest = hashlib.blake2b(f"{name}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def buckets_within(percent: float) -> int:
    """How many of `BUCKETS` get the candidate; more per cent never take it from anybody."""
    return round(percent * BUCKETS / 100)
