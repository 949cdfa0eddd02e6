"""Runtime settings in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from doorbuster.contexts.configuration.tables import changes, current, differences, entries
from doorbuster.platform.settings.config_store import (
    VERSIONS_KEPT,
    Change,
    Difference,
    Proposal,
    Snapshot,
    VersionMoved,
)
from doorbuster.platform.sql.database import Tx


def version(tx: Tx) -> int:
    return tx.execute(sa.select(current.c.version)).scalar_one()


def snapshot(tx: Tx) -> Snapshot:
    rows = tx.execute(sa.select(entries))
    return Snapshot(version(tx), {row.name: row.entry for row in rows})


def put(tx: Tx, expected: int, proposal: Proposal) -> Change:
    """Raises VersionMoved. The version is counted up first: that row is the lock which all changes share."""
    counted = tx.execute(sa.update(current).where(current.c.version == expected).values(version=expected + 1)).rowcount
    if counted != 1:
        raise VersionMoved(version(tx))
    change = Change(
        expected + 1,
        proposal.by,
        proposal.at_ms,
        proposal.reason,
        tuple(_differences(_stored(tx, list(proposal.entries)), proposal.entries)),
    )
    for difference in change.differences:
        _write_entry(tx, difference)
    _write_change(tx, change)
    _forget(tx, change.version - VERSIONS_KEPT)
    return change


def _stored(tx: Tx, names: Sequence[str]) -> Mapping[str, bytes]:
    rows = tx.execute(sa.select(entries).where(entries.c.name.in_(names)))
    return {row.name: row.entry for row in rows}


def _differences(stored: Mapping[str, bytes], wanted: Mapping[str, bytes | None]) -> Sequence[Difference]:
    return [
        Difference(name, stored.get(name), entry) for name, entry in sorted(wanted.items()) if stored.get(name) != entry
    ]


def _write_entry(tx: Tx, difference: Difference) -> None:
    if difference.after is None:
        tx.execute(sa.delete(entries).where(entries.c.name == difference.name))
        return
    statement = tx.insert(entries).values(name=difference.name, entry=difference.after)
    tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"entry": difference.after}))


def _write_change(tx: Tx, change: Change) -> None:
    row = {"version": change.version, "changed_by": change.by, "at_ms": change.at_ms, "reason": change.reason}
    tx.execute(sa.insert(changes).values(row))
    if change.differences:
        rows = [
            {"version": change.version, "name": each.name, "before": each.before, "after": each.after}
            for each in change.differences
        ]
        tx.execute(sa.insert(differences), rows)


def _forget(tx: Tx, upto: int) -> None:
    for table in (differences, changes):
        tx.execute(sa.delete(table).where(table.c.version <= upto))


def changes_after(tx: Tx, after: int, limit: int) -> Sequence[Change]:
    """Ascending."""
    return _changes(tx, sa.select(changes).where(changes.c.version > after).order_by(changes.c.version).limit(limit))


def changes_before(tx: Tx, before: int, limit: int) -> Sequence[Change]:
    """Newest first."""
    newest_first = sa.select(changes).where(changes.c.version < before).order_by(changes.c.version.desc())
    return _changes(tx, newest_first.limit(limit))


def _changes(tx: Tx, statement: sa.Select[tuple[int, int, int, str]]) -> Sequence[Change]:
    found = tx.execute(statement).all()
    versions = [row.version for row in found]
    of_version: dict[int, list[Difference]] = {each: [] for each in versions}
    rows = tx.execute(
        sa.select(differences)
        .where(differences.c.version.in_(versions))
        .order_by(differences.c.version, differences.c.name)
    )
    for row in rows:
        of_version[row.version].append(Difference(row.name, row.before, row.after))
    return [Change(row.version, row.changed_by, row.at_ms, row.reason, tuple(of_version[row.version])) for row in found]
