"""Configuration proves its own books: what is stored is what its history says, whatever engine keeps it."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.settings.config_store import VERSIONS_KEPT, Change, ConfigStore

PAGE = 100


async def checks(store: ConfigStore) -> Sequence[Check]:
    """Of one snapshot: history does not change once it is written, only its oldest end is forgotten."""
    snapshot = await store.read()
    history = await _history_of(store, snapshot.version)
    breaches = _gaps(snapshot.version, history)
    last: dict[str, bytes | None] = {}
    for change in history:
        for difference in change.differences:
            if difference.name in last:
                continue
            last[difference.name] = difference.after
            if snapshot.entries.get(difference.name) != difference.after:
                breaches.append(f"{difference.name} is not stored as version {change.version} has left it")
    complete = len(history) == snapshot.version
    if complete:
        breaches += [f"{name} is in no change" for name in snapshot.entries if name not in last]
    verdict = "broken" if breaches else "holds"
    detail = f"version {snapshot.version}, {len(snapshot.entries)} settings, {len(history)} changes"
    return [Check("settings are what their history says", verdict, detail, tuple(breaches[:BREACHES_SHOWN]))]


def _gaps(version: int, history: Sequence[Change]) -> list[str]:
    """Versions that are missing between the newest and the oldest that is kept; `history` is newest first."""
    expected = range(version, version - len(history), -1)
    breaches = [
        f"version {wanted} has no change"
        for wanted, change in zip(expected, history, strict=True)
        if change.version != wanted
    ]
    if version and not history:
        breaches.append(f"version {version} has no change")
    return breaches[:1]


async def _history_of(store: ConfigStore, version: int) -> list[Change]:
    """Newest first, from `version` on."""
    history: list[Change] = []
    before = version + 1
    while len(history) < VERSIONS_KEPT:
        page = await store.changes_before(before, PAGE)
        if not page:
            break
        history += page
        before = page[-1].version
    return history
