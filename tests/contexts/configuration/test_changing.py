"""Changing runtime settings: refused by name, versioned, audited, rolled back; the rows tell."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import NOW_MS
from contexts.configuration.config_room import OTHER_ROOT, ROOT, ConfigRoom, another_process, wishes
from doorbuster.contexts.configuration import store as store_module
from doorbuster.contexts.configuration.tables import changes, current, differences, entries
from doorbuster.contracts.configuration import (
    SettingInvalid,
    SettingsChanged,
    SettingsVersionNotFound,
    SettingUnknown,
)
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.principal import ROLES, Principal
from doorbuster.platform.settings.config_store import BATCH_MAX
from doorbuster.platform.settings.declared import declared_as
from doorbuster.platform.settings.rollout import Entry, Rollout

LIMITS, DOOR = "tests.limits", "tests.door"


def burst(room: ConfigRoom) -> int:
    return room.runtime.live(declared_as(LIMITS))().burst


async def test_a_change_is_in_force_when_it_is_answered_and_says_who_when_why(room: ConfigRoom):
    change = await room.set(0, {LIMITS: {"burst": 30}, DOOR: {"open": False}}, why="  the rush  ")
    assert (burst(room), room.runtime.version, change.version) == (30, 1, 1)
    assert await room.stored() == {LIMITS: {"value": {"burst": 30}}, DOOR: {"value": {"open": False}}}
    (row,) = await room.rows(changes)
    assert tuple(row) == (1, 301, NOW_MS, "the rush")
    told = [(row.version, row.name, row.before, row.after) for row in await room.rows(differences)]
    assert told == [(1, DOOR, None, b'{"value":{"open":false}}'), (1, LIMITS, None, b'{"value":{"burst":30}}')]
    assert await room.broken() == []


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({LIMITS: {"burst": 0}}, SettingInvalid, "tests.limits.burst"),
    ({LIMITS: {"burst": "30"}}, SettingInvalid, "tests.limits.burst"),
    ({LIMITS: {"burst": 1.5}}, SettingInvalid, "tests.limits.burst"),
    ({LIMITS: {"burst": 9}}, SettingInvalid, "tests.limits.burst"),
    ({LIMITS: {"bursts": 30}}, SettingInvalid, "tests.limits.bursts"),
    ({LIMITS: {"paths": ["x" * 70_000]}}, SettingInvalid, "tests.limits"),
    ({LIMITS: Entry({}, Rollout({"burst": 0}, 10))}, SettingInvalid, "tests.limits.burst"),
    ({"tests.none": {"burst": 30}}, SettingUnknown, "tests.none"),
    ({"tests": {}}, SettingUnknown, "tests"),
    ({"tests.none": None}, SettingUnknown, "tests.none"),
    ({"": {}}, SettingUnknown, ""),
    ({f"n{number}": {} for number in range(BATCH_MAX + 1)}, SettingInvalid, "changes"),
    ({}, SettingInvalid, "changes"),
]


@pytest.mark.parametrize(("bad", "error", "key"), BAD)
async def test_a_bad_value_is_named_and_nothing_of_its_batch_is_written(
    room: ConfigRoom, bad: dict[str, Any], error: type[Exception], key: str
):
    await room.set(0, {LIMITS: {"burst": 40}})
    before = await room.everything()
    with pytest.raises(error) as refused:
        await room.set(1, {DOOR: {"open": False}, **bad} if bad and len(bad) < BATCH_MAX else bad)
    assert refused.value.extra["key"] == key  # type: ignore[attr-defined]
    assert await room.everything() == before
    assert burst(room) == 40


async def test_a_setting_is_in_a_batch_once(room: ConfigRoom):
    twice = [*wishes({DOOR: {"open": False}}), *wishes({DOOR: {"open": True}})]
    with pytest.raises(SettingInvalid, match="twice"):
        await room.service.change(ROOT, 0, "x", twice)
    assert await room.stored() == {}


@pytest.mark.parametrize("reason", ["", "   ", "a\nb", "x" * 501, "\ud800"])
async def test_a_change_needs_a_reason(room: ConfigRoom, reason: str):
    with pytest.raises(SettingInvalid, match="reason"):
        await room.set(0, {DOOR: {"open": False}}, why=reason)
    with pytest.raises(SettingInvalid, match="reason"):
        await room.service.roll_back(ROOT, 0, None, reason)
    assert await room.version() == 0


@pytest.mark.parametrize("role", [role for role in ROLES if role != "admin"])
async def test_only_admins_look_or_change(room: ConfigRoom, role: Any):
    await room.set(0, {LIMITS: {"burst": 40}})
    before = await room.everything()
    who, service = Principal(5, role), room.service
    for asked in (
        service.overview(who),
        service.group(who, LIMITS),
        service.change(who, 1, "x", wishes({DOOR: {"open": False}})),
        service.roll_back(who, 1, None, "x"),
        service.history(who, None, 10),
        service.changes_after(who, 0, 10),
    ):
        with pytest.raises(Forbidden):
            await asked
    assert await room.everything() == before


async def test_of_two_who_looked_at_the_same_version_one_wins(room: ConfigRoom):
    rooms = [(room, ROOT, 30), (another_process(room), OTHER_ROOT, 50)]
    gate = asyncio.Event()

    async def put(place: ConfigRoom, who: Principal, burst: int) -> tuple[int, int] | None:
        await gate.wait()
        try:
            await place.set(0, {LIMITS: {"burst": burst}}, who)
        except SettingsChanged as moved:
            assert moved.extra["version"] == 1
            return None
        return who.account_id, burst

    setting = [asyncio.create_task(put(*each)) for each in rooms]
    gate.set()
    (won,) = [each for each in await asyncio.gather(*setting) if each is not None]
    assert await room.stored() == {LIMITS: {"value": {"burst": won[1]}}}
    assert [(row.version, row.changed_by) for row in await room.rows(changes)] == [(1, won[0])]
    assert await room.broken() == []


async def test_going_back_is_a_version_of_its_own(room: ConfigRoom):
    await room.set(0, {LIMITS: {"burst": 30}})
    await room.set(1, {LIMITS: {"burst": 40}, DOOR: {"open": False}})
    await room.set(2, {LIMITS: None})
    back = await room.service.roll_back(OTHER_ROOT, 3, 1, "it was better")
    assert (back.version, back.by, burst(room)) == (4, 302, 30)
    assert await room.stored() == {LIMITS: {"value": {"burst": 30}}}
    await room.service.roll_back(ROOT, 4, 0, "everything as it came")
    assert (await room.stored(), burst(room)) == ({}, 20)
    again = await room.service.roll_back(ROOT, 5, 2, "once more")
    assert await room.stored() == {LIMITS: {"value": {"burst": 40}}, DOOR: {"value": {"open": False}}}
    assert [row.version for row in await room.rows(changes)] == [1, 2, 3, 4, 5, 6]
    assert again.version == 6
    assert await room.broken() == []


async def test_without_a_version_the_last_change_is_undone_also_a_way_back(room: ConfigRoom):
    await room.set(0, {LIMITS: {"burst": 30}})
    await room.set(1, {LIMITS: {"burst": 40}})
    await room.service.roll_back(ROOT, 2, None, "no")
    assert burst(room) == 30
    await room.service.roll_back(ROOT, 3, None, "yes")
    assert burst(room) == 40


@pytest.mark.parametrize("to", [-1, 2, 2**53])
async def test_there_is_no_way_to_a_version_that_never_was(room: ConfigRoom, to: int):
    await room.set(0, {LIMITS: {"burst": 30}})
    with pytest.raises(SettingsVersionNotFound):
        await room.service.roll_back(ROOT, 1, to, "x")
    assert await room.version() == 1


async def test_there_is_nothing_to_undo_at_the_beginning(room: ConfigRoom):
    with pytest.raises(SettingsVersionNotFound):
        await room.service.roll_back(ROOT, 0, None, "x")


async def test_whoever_goes_back_has_looked_at_the_current_version(room: ConfigRoom):
    await room.set(0, {LIMITS: {"burst": 30}})
    await room.set(1, {LIMITS: {"burst": 40}})
    for expected in (1, 9):
        with pytest.raises(SettingsChanged) as moved:
            await room.service.roll_back(ROOT, expected, 0, "x")
        assert moved.value.extra["version"] == 2
    assert (await room.version(), burst(room)) == (2, 40)


async def test_the_way_back_ends_where_history_was_forgotten(room: ConfigRoom, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "VERSIONS_KEPT", 2)
    for version in range(4):
        await room.set(version, {LIMITS: {"burst": 30 + version}})
    with pytest.raises(SettingsVersionNotFound, match="forgotten"):
        await room.service.roll_back(ROOT, 4, 1, "too far")
    assert await room.broken() == []
    await room.service.roll_back(ROOT, 4, 2, "just so far")
    assert burst(room) == 31


async def test_a_value_of_then_that_does_not_fit_now_is_not_brought_back(room: ConfigRoom):
    await room.set(0, {LIMITS: {"burst": 30}})
    await room.set(1, {LIMITS: {"burst": 40}})
    old = sa.update(differences).where(differences.c.version == 2).values(before=b'{"value":{"bursts":1}}')
    await room.tamper(old)
    with pytest.raises(SettingInvalid) as refused:
        await room.service.roll_back(ROOT, 2, 1, "x")
    assert refused.value.extra["key"] == "tests.limits.bursts"
    assert (await room.version(), burst(room)) == (2, 40)


async def test_history_comes_in_pages_newest_first(room: ConfigRoom):
    for version in range(5):
        await room.set(version, {LIMITS: {"burst": 30 + version}})
    seen: list[int] = []
    before = None
    while True:
        page = await room.service.history(ROOT, before, 2)
        seen += [change.version for change in page.items]
        before = page.next_after
        if before is None:
            break
    assert seen == [5, 4, 3, 2, 1]


async def test_what_another_version_left_behind_is_shown_and_may_be_taken_away(room: ConfigRoom):
    await room.tamper(sa.insert(entries).values(name="tests.gone", entry=b'{"value":{"x":1}}'))
    await room.tamper(sa.insert(entries).values(name=LIMITS, entry=b'{"value":{"bursts":1}}'))
    await room.tamper(sa.update(current).values(version=1))
    shown = {group.name: group for group in (await room.service.overview(ROOT)).groups}
    assert shown["tests.gone"].problem == "there is no such setting"
    assert shown[LIMITS].problem.startswith("tests.limits.bursts: ")
    assert shown[LIMITS].in_force == declared_as(LIMITS).default
    assert shown[DOOR].problem == ""
    with pytest.raises(SettingUnknown):
        await room.set(1, {"tests.gone": {"x": 2}})
    await room.set(1, {"tests.gone": None, LIMITS: None})
    assert await room.stored() == {}
    assert room.runtime.problems == {}


async def test_an_audit_finds_what_was_changed_behind_the_history(room: ConfigRoom):
    await room.set(0, {LIMITS: {"burst": 30}})
    await room.set(1, {DOOR: {"open": False}})
    assert await room.broken() == []
    await room.tamper(sa.update(entries).where(entries.c.name == LIMITS).values(entry=b'{"value":{"burst":99}}'))
    assert await room.broken() == ["tests.limits is not stored as version 1 has left it"]
    await room.tamper(sa.delete(entries).where(entries.c.name == LIMITS))
    await room.tamper(sa.insert(entries).values(name="tests.smuggled", entry=b"{}"))
    assert len(await room.broken()) == 2
    await room.tamper(sa.delete(changes).where(changes.c.version == 2))
    assert "version 2 has no change" in await room.broken()
