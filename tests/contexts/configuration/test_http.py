"""Runtime settings over HTTP, behind the real door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from contexts.configuration.config_room import ROOT, ConfigRoom, another_process
from doorbuster.contexts.configuration.tables import current, entries
from doorbuster.kernel.principal import Principal
from live_server import UNTIL_S, LiveServer, live_server

LIMITS, DOOR = "tests.limits", "tests.door"


class Api:
    def __init__(self, server: LiveServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client

    async def __call__(self, method: str, path: str, body: Any = None, who: Principal | None = ROOT) -> tuple[int, Any]:
        headers = {} if who is None else self.server.headers(who)
        answer = await self.client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json()

    async def put(self, version: int, reason: str = "a test", **values: Any) -> tuple[int, Any]:
        changes = [{"key": f"tests.{name}", **value} for name, value in values.items()]
        return await self("PUT", "/v1/config", {"version": version, "reason": reason, "changes": changes})


@pytest.fixture
async def api(room: ConfigRoom) -> AsyncIterator[Api]:
    async with (
        live_server([room.context.faces()]) as server,
        httpx.AsyncClient(base_url=server.http, timeout=UNTIL_S) as client,
    ):
        yield Api(server, client)


async def test_look_change_look_again_and_go_back(room: ConfigRoom, api: Api):
    status, seen = await api("GET", "/v1/config")
    assert (status, seen["version"]) == (200, 0)
    shown = {item["key"]: item for item in seen["items"]}
    default = {"per_second": 10, "burst": 20, "paths": []}
    assert shown[LIMITS] == {
        "key": LIMITS,
        "stored": None,
        "in_force": default,
        "default": default,
        "problem": None,
    }
    rollout = {"value": {"burst": 90}, "percent": 12.5, "labels": ["beta"]}
    status, change = await api.put(
        0, "rush hour", limits={"value": {"burst": 30}, "rollout": rollout}, door={"value": {"open": False}}
    )
    assert (status, change["version"], change["by"], change["reason"]) == (200, 1, "301", "rush hour")
    after = {"value": {"burst": 30}, "rollout": {**rollout}}
    assert {"key": LIMITS, "before": None, "after": after} in change["differences"]
    status, one = await api("GET", f"/v1/config/settings/{LIMITS}")
    assert (status, one["version"], one["setting"]["stored"]) == (200, 1, after)
    assert one["setting"]["in_force"] == {**default, "burst": 30}
    assert one["json_schema"]["$defs"]["Limits"]["properties"]["burst"]["maximum"] == 1000
    status, back = await api("POST", "/v1/config/rollback", {"version": 1, "reason": "over", "to": 0})
    assert (status, back["version"], await room.stored()) == (200, 2, {})
    assert (await api("GET", f"/v1/config/settings/{LIMITS}"))[1]["setting"]["in_force"] == default


@pytest.mark.parametrize(
    ("changes", "status", "slug", "key"),
    [
        ([{"key": LIMITS, "value": {"burst": 0}}], 400, "setting-invalid", "tests.limits.burst"),
        ([{"key": LIMITS, "value": {"bursts": 1}}], 400, "setting-invalid", "tests.limits.bursts"),
        ([{"key": LIMITS, "value": {"burst": 9}}], 400, "setting-invalid", "tests.limits.burst"),
        ([{"key": DOOR, "value": {}}, {"key": DOOR, "value": {}}], 400, "setting-invalid", DOOR),
        ([{"key": "tests.none", "value": {}}], 404, "setting-unknown", "tests.none"),
        ([], 400, "invalid-body", None),
        ([{"key": DOOR}], 400, "invalid-body", None),
        ([{"key": DOOR, "value": []}], 400, "invalid-body", None),
        ([{"key": DOOR, "value": {}, "values": 1}], 400, "invalid-body", None),
        ([{"key": DOOR, "value": {}, "rollout": {"value": {}, "percent": 100.5}}], 400, "invalid-body", None),
        ([{"key": DOOR, "value": {}, "rollout": {"value": {}, "labels": ["Beta!"]}}], 400, "invalid-body", None),
        ([{"key": DOOR, "value": {}, "rollout": {"value": {}, "labels": ["b"] * 17}}], 400, "invalid-body", None),
        ([{"key": DOOR, "value": {}}] * 101, 400, "invalid-body", None),
    ],
)
async def test_what_is_refused_is_named_and_writes_nothing(
    room: ConfigRoom, api: Api, changes: list[Any], status: int, slug: str, key: str | None
):
    await api.put(0, limits={"value": {"burst": 40}})
    before = await room.everything()
    answered, problem = await api("PUT", "/v1/config", {"version": 1, "reason": "x", "changes": changes})
    assert (answered, problem["slug"], problem.get("key")) == (status, slug, key)
    assert await room.everything() == before


async def test_another_version_than_the_current_one_is_a_conflict_that_tells_it(room: ConfigRoom, api: Api):
    await api.put(0, limits={"value": {"burst": 40}})
    before = await room.everything()
    for status, problem in (
        await api.put(0, limits={"value": {"burst": 50}}),
        await api("POST", "/v1/config/rollback", {"version": 2, "reason": "x", "to": 1}),
    ):
        assert (status, problem["slug"], problem["version"]) == (409, "settings-changed", "1")
    status, problem = await api("POST", "/v1/config/rollback", {"version": 1, "reason": "x", "to": 7})
    assert (status, problem["slug"]) == (404, "settings-version-not-found")
    assert await room.everything() == before


async def test_a_change_without_a_reason_or_version_is_refused(room: ConfigRoom, api: Api):
    good = {"version": 0, "reason": "x", "changes": [{"key": DOOR, "value": {"open": False}}]}
    for bad in ({"reason": ""}, {"reason": "a\nb"}, {"reason": None}, {"version": -1}, {"version": "0"}, {"more": 1}):
        assert (await api("PUT", "/v1/config", good | bad))[1]["slug"] == "invalid-body"
    assert (await api("PUT", "/v1/config", good | {"reason": "  "}))[1]["slug"] == "setting-invalid"
    assert await room.version() == 0


async def test_history_has_pages(api: Api):
    for version in range(3):
        await api.put(version, limits={"value": {"burst": 30 + version}})
    first = (await api("GET", "/v1/config/changes?limit=2"))[1]
    second = (await api("GET", f"/v1/config/changes?limit=2&cursor={first['next_cursor']}"))[1]
    assert [each["version"] for each in first["items"] + second["items"]] == [3, 2, 1]
    assert second["next_cursor"] is None
    assert (await api("GET", "/v1/config/changes?cursor=x"))[1]["slug"] == "bad-cursor"


async def changes_of(lines: AsyncIterator[str], count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        line = await anext(lines)
        if line.startswith("data: "):
            found.append(json.loads(line[6:])["version"])
    return found


async def test_who_watches_sees_changes_wherever_they_are_made_and_goes_on_where_they_were(room: ConfigRoom, api: Api):
    elsewhere = another_process(room)
    await room.set(0, {LIMITS: {"burst": 30}})
    async with api.client.stream("GET", "/v1/config/changes/live", headers=api.server.headers(ROOT)) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 2000", "it stands at the present"
        await elsewhere.set(1, {LIMITS: {"burst": 31}})
        await room.set(2, {LIMITS: {"burst": 32}})
        assert await changes_of(lines, 2) == [2, 3]
    await elsewhere.set(3, {LIMITS: {"burst": 33}})
    headers = api.server.headers(ROOT) | {"Last-Event-ID": "1"}
    async with api.client.stream("GET", "/v1/config/changes/live", headers=headers) as answer:
        assert await changes_of(answer.aiter_lines(), 3) == [2, 3, 4]


async def test_only_admins_may_watch(api: Api):
    assert (await api("GET", "/v1/config/changes/live", who=Principal(1, "support")))[0] == 403
    assert (await api("GET", "/v1/config/changes/live", who=None))[0] == 401


async def test_what_cannot_be_read_any_more_is_shown_as_a_problem(room: ConfigRoom, api: Api):
    await room.tamper(sa.insert(entries).values(name=LIMITS, entry=b"\xff{"))
    await room.tamper(sa.insert(entries).values(name="tests.gone", entry=b'{"value":{"x":1}}'))
    await room.tamper(sa.update(current).values(version=1))
    shown = {item["key"]: item for item in (await api("GET", "/v1/config"))[1]["items"]}
    assert shown[LIMITS]["problem"].startswith(LIMITS)
    assert shown[LIMITS]["in_force"] == shown[LIMITS]["default"]
    assert shown["tests.gone"]["problem"] == "there is no such setting"
    status, gone = await api.put(1, gone={"value": None}, limits={"value": None})
    assert status == 200
    assert {"key": LIMITS, "before": "\ufffd{", "after": None} in gone["differences"]
    assert await room.stored() == {}
