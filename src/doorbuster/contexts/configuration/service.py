"""Use cases of whoever runs the shop: look at the settings, change them, go back. Admins only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from doorbuster.contexts.configuration import books
from doorbuster.contexts.configuration.model import (
    Group,
    Overview,
    Wish,
    checked_entries,
    checked_entry,
    checked_reason,
    invalid,
    undone,
    unknown,
)
from doorbuster.contracts.audit import Check
from doorbuster.contracts.configuration import SettingsChanged, SettingsVersionNotFound
from doorbuster.kernel.errors import Busy, Forbidden
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.config_store import Change, ConfigStore, Proposal, Snapshot, VersionMoved
from doorbuster.platform.settings.declared import all_declared
from doorbuster.platform.settings.rollout import Entry, decode_entry
from doorbuster.platform.settings.tree import WrongSetting
from doorbuster.platform.sql.paging import Page

NAME = "configuration"
TOPIC = 1
"""There is one stream of changes."""
PAGE = 100

log = structlog.get_logger(NAME)


class ConfigurationService:
    def __init__(self, platform: Platform, store: ConfigStore, hub: Hub) -> None:
        self._platform = platform
        self._runtime = platform.runtime
        self._store = store
        self.hub = hub

    async def load(self) -> Snapshot:
        """Puts what is stored now into force in this process. Raises Unavailable."""
        snapshot = await self._store.read()
        self._runtime.apply(snapshot)
        return snapshot

    async def overview(self, principal: Principal) -> Overview:
        """Every group that is declared or stored, by name."""
        _check_admin(principal)
        stored = await self.load()
        names = sorted({*all_declared(), *stored.entries})
        return Overview(stored.version, self._runtime.version, [self._group(name, stored) for name in names])

    async def group(self, principal: Principal, name: str) -> tuple[int, Group]:
        """The version, and what this group has in it. Raises SettingUnknown."""
        _check_admin(principal)
        stored = await self.load()
        if name not in all_declared() and name not in stored.entries:
            raise unknown(name)
        return stored.version, self._group(name, stored)

    async def change(self, principal: Principal, expected: int, reason: str, wishes: Sequence[Wish]) -> Change:
        """All of it or nothing, as the version behind `expected`.

        Raises SettingInvalid, SettingUnknown, SettingsChanged.
        """
        _check_admin(principal)
        reason = checked_reason(reason)
        known = all_declared()
        leftovers = any(wish.name not in known for wish in wishes)
        stored = (await self._store.read()).entries if leftovers else ()
        return await self._put(principal, expected, reason, checked_entries(wishes, known, stored))

    async def roll_back(self, principal: Principal, expected: int, to: int | None, reason: str) -> Change:
        """Everything as it was at version `to`, by default before the last change; this is a version of its own.

        Raises SettingsVersionNotFound, SettingsChanged, and SettingInvalid or SettingUnknown for a value of then that
        this version of the shop does not take.
        """
        _check_admin(principal)
        reason = checked_reason(reason)
        target = expected - 1 if to is None else to
        if not 0 <= target <= expected:
            raise SettingsVersionNotFound(f"there is no version {target} before version {expected}")
        changes = await self._changes_between(target, expected)
        if len(changes) < expected - target:
            if (current := (await self._store.read()).version) < expected:
                raise _changed(current)
            raise SettingsVersionNotFound(f"the way back to version {target} was forgotten")
        before = undone(changes)
        for name, encoded in before.items():
            if encoded is not None:
                _check_fits(name, encoded)
        return await self._put(principal, expected, reason, before)

    async def history(self, principal: Principal, before: int | None, limit: int) -> Page[Change]:
        """Newest first."""
        _check_admin(principal)
        changes = await self._store.changes_before(before or ID_MAX, limit + 1)
        return Page(list(changes[:limit]), changes[limit - 1].version if len(changes) > limit else None)

    async def changes_after(self, principal: Principal, version: int, limit: int) -> Sequence[Change]:
        """Ascending, for those who watch."""
        _check_admin(principal)
        return await self._store.changes_after(version, limit)

    async def newer_than(self, version: int) -> int:
        """Waits for a higher version; for a process that does nothing else."""
        return await self._store.newer_than(version)

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        return await books.checks(self._store)

    async def _put(
        self, principal: Principal, expected: int, reason: str, entries: Mapping[str, bytes | None]
    ) -> Change:
        proposal = Proposal(principal.account_id, self._platform.clock.now_ms(), reason, entries)
        try:
            change = await self._store.put(expected, proposal)
        except VersionMoved as moved:
            raise _changed(moved.version) from moved
        log.info(
            "settings were changed",
            version=change.version,
            by=change.by,
            reason=change.reason,
            keys=[difference.name for difference in change.differences],
        )
        try:
            await self.load()
        except Busy as outage:  # it is stored; whoever follows the store will see it
            log.warning("a change is not in force here yet", version=change.version, error=repr(outage))
        return change

    async def _changes_between(self, after: int, upto: int) -> list[Change]:
        changes: list[Change] = []
        position = after
        while position < upto:
            page = await self._store.changes_after(position, min(PAGE, upto - position))
            if not page:
                break
            changes += [change for change in page if change.version <= upto]
            position = page[-1].version
        return changes

    def _group(self, name: str, stored: Snapshot) -> Group:
        declared = all_declared().get(name)
        entry, problem = _entry_of(name, stored.entries.get(name))
        if declared is None:
            return Group(name, None, entry, None, problem or "there is no such setting")
        live = self._runtime.live(declared)
        return Group(name, declared, entry, live(), live.problem or problem)


def _entry_of(name: str, stored: bytes | None) -> tuple[Entry | None, str]:
    """What is stored, and what is wrong with it."""
    if stored is None:
        return None, ""
    try:
        return decode_entry(name, stored), ""
    except WrongSetting as wrong:
        return None, str(wrong)


def _check_fits(name: str, stored: bytes) -> None:
    try:
        entry = decode_entry(name, stored)
    except WrongSetting as wrong:
        raise invalid(wrong) from wrong
    checked_entry(name, entry, all_declared())


def _changed(version: int) -> SettingsChanged:
    return SettingsChanged(f"the settings are at version {version}", version=version)


def _check_admin(principal: Principal) -> None:
    """Raises Forbidden."""
    if principal.role != "admin":
        raise Forbidden("this needs the role admin")
