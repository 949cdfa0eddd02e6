"""The port: where runtime settings are kept. The database by default; the contract fits etcd and Consul as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

BATCH_MAX = 100
"""Names in one change."""
ENTRY_BYTES_MAX = 64 * 1024
VERSIONS_KEPT = 10_000
"""History goes back this far; older changes are forgotten when a new one is written."""


class VersionMoved(Exception):
    """Somebody else has changed something since; nothing was done. `version` is the current one."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the settings are at version {version}")
        self.version = version


class Snapshot(Struct, frozen=True):
    """Everything that is stored, at one version. Version 0 is empty; each change adds one."""

    version: int
    entries: Mapping[str, bytes]


class Proposal(Struct, frozen=True):
    """A change before it has a version: who wants it, when, why, and what is stored by name (None: no more)."""

    by: int
    at_ms: int
    reason: str
    entries: Mapping[str, bytes | None]


class Difference(Struct, frozen=True):
    name: str
    before: bytes | None
    after: bytes | None


class Change(Struct, frozen=True):
    """A change that was made."""

    version: int
    by: int
    at_ms: int
    reason: str
    differences: tuple[Difference, ...]


class ConfigStore(Protocol):
    """Every method raises Unavailable when the store cannot be reached."""

    async def read(self) -> Snapshot:
        """What holds now, all of one version."""
        ...

    async def put(self, expected: int, proposal: Proposal) -> Change:
        """Writes all entries, the new version and its history at once, or nothing.

        Entries that are stored like this already are not among the differences, but the version moves all the same.
        Raises VersionMoved unless the version is `expected`, and OutcomeUnknown.
        """
        ...

    async def changes_after(self, version: int, limit: int) -> Sequence[Change]:
        """At most `limit` changes behind `version`, ascending. Those that were forgotten are missing."""
        ...

    async def changes_before(self, version: int, limit: int) -> Sequence[Change]:
        """At most `limit` changes below `version`, newest first."""
        ...

    async def newer_than(self, version: int) -> int:
        """Waits until the version is higher, and returns it: within a quarter of a second of the commit, wherever that
        was made. Only for one task per process: whoever else waits shares a `bus.hub.Hub`."""
        ...
