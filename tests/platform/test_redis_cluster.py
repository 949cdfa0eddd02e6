"""Our way to a Redis Cluster: each key at its master, redirections followed, and a master that is away alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec.structs import replace

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.breaker import BreakerSettings
from doorbuster.platform.neighbour import Neighbours
from doorbuster.platform.redis import CONNECTIONS_MAX, REDIS, TIMEOUT_S, Call, Redis, Source
from doorbuster.platform.redis.address import ClusterAddress
from doorbuster.platform.settings.sources import load_settings
from doorbuster.platform.settings.tree import WrongSetting
from redis_cluster import MASTERS, Cluster

COUNT = Source.of("return redis.call('INCR', KEYS[1])")
BOTH = Source.of("return {redis.call('INCR', KEYS[1]), redis.call('INCR', KEYS[2])}")
BREAKER = BreakerSettings(calls_min=5, open_ms=50, probes=1)


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


@pytest.fixture
async def redis(own_cluster: Cluster, neighbours: Neighbours) -> AsyncIterator[Redis]:
    own_cluster.empty()
    settings = replace(REDIS.default, breaker=BREAKER)
    opened = Redis(own_cluster.url, lambda server: neighbours.get("redis", server, lambda: settings))
    yield opened
    await opened.close()


@pytest.fixture
def keys(own_cluster: Cluster) -> list[str]:
    """One on each master."""
    return [own_cluster.key_on(at) for at in range(MASTERS)]


async def test_calls_at_once_are_answered_in_order_each_by_its_master(
    redis: Redis, own_cluster: Cluster, keys: list[str]
):
    many = [f"many-{number}" for number in range(200)]
    calls = [Call(COUNT, key, ()) for key in many for _ in range(2)]
    assert await redis.run_all(calls) == [1, 2] * len(many)
    assert {redis.place_of(key) for key in keys} == set(own_cluster.addresses) == set(await redis.places())
    sizes = await redis.everywhere("DBSIZE")
    assert sum(sizes) == len(many)
    assert min(sizes) > 0


async def test_scripts_of_several_keys_share_a_slot_by_their_tag(redis: Redis):
    both = redis.script(BOTH.text)
    assert await both(["{tag}:a", "{tag}:b"]) == [1, 1]
    with pytest.raises(Unavailable):
        await both(["one", "other"])


async def test_one_master_that_has_forgotten_the_scripts_gets_them_again(
    redis: Redis, own_cluster: Cluster, keys: list[str]
):
    count = redis.script(COUNT.text)
    for turn in range(1, 4):
        assert await redis.run_all([Call(COUNT, key, ()) for key in keys]) == [2 * turn - 1] * MASTERS
        with own_cluster.client(turn % MASTERS) as client:
            client.script_flush()
        assert [await count([key]) for key in keys] == [2 * turn] * MASTERS
        with own_cluster.client(turn % MASTERS) as client:
            client.script_flush()


async def test_commands_about_no_key_say_where(redis: Redis, keys: list[str]):
    for word in ("PING", "FLUSHALL", "SCRIPT"):
        with pytest.raises(ValueError, match=word):
            await redis.command(word)
    with pytest.raises(ValueError, match="DBSIZE"):
        await redis.command("DBSIZE", "x")
    assert await redis.everywhere("PING") == [True] * MASTERS
    await redis.command("SET", keys[0], "x")
    assert await redis.command("DBSIZE", at=redis.place_of(keys[0])) == 1


# --- slots that move ------------------------------------------------------------------------------------------------


async def test_a_slot_that_has_moved_is_followed_at_once_and_remembered(
    redis: Redis,
    own_cluster: Cluster,
    keys: list[str],
    until,
):
    count, key = redis.script(COUNT.text), keys[0]
    asks: list[Callable[[], Awaitable[object]]] = [
        lambda: redis.command("INCR", key),
        lambda: count([key]),
        lambda: redis.run_all([Call(COUNT, each, ()) for each in keys]),
    ]
    for to, ask in zip((1, 2, 0), asks, strict=True):
        before = int(await redis.command("INCR", key))
        own_cluster.move(key, to)
        found = await ask()
        assert (found[0] if isinstance(found, list) else found) == before + 1
        assert redis.place_of(key) == own_cluster.addresses[to]
    other = own_cluster.key_on(1, "other")
    own_cluster.move(other, 2)
    await redis.command("GET", keys[0])
    own_cluster.move(keys[0], 1)

    async def all_known() -> bool:
        await redis.command("GET", keys[0])  # sent on once: reason enough to ask for all slots
        own_cluster.move(keys[0], 1 - own_cluster.master_of(keys[0]))
        return redis.place_of(other) == own_cluster.addresses[2]

    assert await until(all_known), "of a slot that was not even asked for"


@pytest.mark.parametrize("way", ["command", "run", "run_all"])
async def test_while_a_slot_moves_new_keys_are_asked_of_its_next_master(redis: Redis, own_cluster: Cluster, way: str):
    """With many idle connections, too: ASKING is about the next command on its own connection."""
    key = own_cluster.key_on(0, way)
    there = own_cluster.key_on(1, "there")
    for each in (key, there):
        await asyncio.gather(*(redis.command("GET", each) for _ in range(CONNECTIONS_MAX)))
    count = redis.script(COUNT.text)

    async def ask() -> object:
        if way == "command":
            return await redis.command("INCR", key)
        return await count([key]) if way == "run" else (await redis.run_all([Call(COUNT, key, ())]))[0]

    own_cluster.begin_move(key, 1)
    try:
        found = await asyncio.gather(*(ask() for _ in range(200)))
        assert sorted(found) == list(range(1, 201)), "none was lost, none was counted twice"
        assert redis.place_of(key) == own_cluster.addresses[0], "it is not there for good"
    finally:
        own_cluster.move_keys(key, 1)
        own_cluster.end_move(key, 1)
    assert await ask() == 201


# --- masters that are away ------------------------------------------------------------------------------------------


async def test_a_killed_master_takes_only_its_own_keys_along(
    redis: Redis, own_cluster: Cluster, neighbours: Neighbours, keys: list[str], until
):
    assert await redis.run_all([Call(COUNT, key, ()) for key in keys]) == [1] * MASTERS
    with own_cluster.killed(1):
        for turn in range(1, 11):
            dead, *alive = keys[1], keys[0], keys[2]
            with pytest.raises(Unavailable):
                await redis.command("GET", dead)
            assert [await redis.command("GET", key) for key in alive] == [str(turn)] * 2
            answers = await redis.run_all([Call(COUNT, key, ()) for key in keys])
            assert [type(answer) for answer in answers] == [int, Unavailable, int]
        states = {each.instance: each.breaker.state for each in neighbours.snapshots()}
        assert states[own_cluster.addresses[0]] == states[own_cluster.addresses[2]] == "closed"
        assert states[own_cluster.addresses[1]] != "closed"
        with pytest.raises(Unavailable):
            await redis.everywhere("PING")

    async def back() -> bool:
        try:
            return await redis.command("INCR", keys[1]) > 0
        except Unavailable:
            return False

    assert await until(back)


async def test_a_hung_master_is_given_up_in_time_and_the_others_are_not_waited_for(
    redis: Redis, own_cluster: Cluster, keys: list[str]
):
    await redis.run_all([Call(COUNT, key, ()) for key in keys])
    with own_cluster.hung(1):
        waiting = asyncio.create_task(redis.command("GET", keys[1]))
        while not waiting.done():
            assert await redis.command("GET", keys[0]) == "1"
        with pytest.raises(Unavailable):
            await waiting
        began_s = time.monotonic()
        answers = await redis.run_all([Call(COUNT, key, ()) for key in keys])
        assert [type(answer) for answer in answers] == [int, Unavailable, int]
        assert time.monotonic() - began_s >= TIMEOUT_S * 0.9


async def test_any_node_of_the_address_leads_to_all(own_cluster: Cluster, keys: list[str]):
    with own_cluster.killed(0):
        redis = Redis(own_cluster.url)
        assert await redis.command("SET", keys[2], "x") is True
        await redis.close()
    one = Redis(f"redis+cluster://{own_cluster.addresses[2]}/0")
    assert [await one.command("SET", key, "x") for key in keys] == [True] * MASTERS
    await one.close()


async def test_a_cluster_that_was_not_there_at_first_is_found_later(own_cluster: Cluster, keys: list[str], until):
    redis = Redis(own_cluster.url)
    with own_cluster.killed(*range(MASTERS)):
        for ask in (redis.places(), redis.command("GET", keys[0]), redis.run_all([Call(COUNT, keys[0], ())])):
            with pytest.raises(Unavailable):
                await ask

    async def there() -> bool:
        try:
            return await redis.command("SET", keys[0], "x")
        except Unavailable:
            return False

    assert await until(there)
    await redis.close()


async def test_a_replica_that_takes_over_is_found(until):
    cluster = Cluster()
    replica = cluster.add_replica(of=1)
    key = cluster.key_on(1)
    redis = Redis(cluster.url)
    try:
        assert await redis.run_all([Call(COUNT, key, ())]) == [1]
        with cluster.client(1) as client:
            assert client.wait(1, 10_000) == 1
        cluster.masters[1].stop()

        async def there() -> bool:
            try:
                return await redis.command("GET", key) == "1"
            except Unavailable:
                return False

        assert await until(there)
        assert redis.place_of(key) == replica
        assert await redis.run_all([Call(COUNT, key, ())]) == [2]
    finally:
        await redis.close()
        cluster.stop()


# --- addresses ------------------------------------------------------------------------------------------------------


def test_addresses():
    address = ClusterAddress.of("rediss+cluster://shop:s3cret@first:7000,[::1]:7001,third?ssl_cert_reqs=none")
    assert address.seeds == ["first:7000", "[::1]:7001", "third:6379"]
    assert address.url_of("[::1]:7001") == "rediss://shop:s3cret@[::1]:7001/0?ssl_cert_reqs=none"
    for wrong in ("redis+cluster://", "redis+cluster://a,,b", "redis+cluster://a/1", "redis+cluster://a:x"):
        with pytest.raises(ValueError):
            ClusterAddress.of(wrong)


def test_which_addresses_may_be_set():
    for right in ("redis+cluster://a:7000,b:7000", "rediss+cluster://u:p@a/0?ssl_cert_reqs=none", "redis://a/3", ""):
        assert load_settings(None, {"DOORBUSTER_REDIS_URL": right}).redis.url == right
    for wrong in ("redis+cluster://", "redis+cluster://a/1", "redis+cluster:/a", "cluster://a"):
        with pytest.raises(WrongSetting):
            load_settings(None, {"DOORBUSTER_REDIS_URL": wrong})
