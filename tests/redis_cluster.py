"""A Redis Cluster of the tests: three masters of our own, each with a third of the slots, on free ports.

A slot of a master that is away is not served; the others go on (`cluster-require-full-coverage no`).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.crc import key_slot

from doorbuster.lab.redis_server import PATIENCE_S, NoRedis, RedisServer, free_port

MASTERS, SLOTS = 3, 16_384
BOUNDS = [SLOTS * at // MASTERS for at in range(MASTERS + 1)]


def first_master_of(key: str) -> int:
    """Which one has it as long as no slot was moved."""
    return bisect_right(BOUNDS, key_slot(key.encode())) - 1


def wait_until(found: Callable[[], bool]) -> None:
    """Raises NoRedis."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not found():
        if time.monotonic() > give_up_s:
            raise NoRedis("the nodes do not become a cluster")
        time.sleep(0.02)


class Cluster:
    """`url` names all three, so that a process finds the others whichever is away."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="redis-cluster-")
        self._bus = [free_port() for _ in range(MASTERS)]
        self.masters: list[RedisServer] = []
        self.replica: RedisServer | None = None
        try:
            for at in range(MASTERS):
                self.start(at)
            self._join()
        except BaseException:
            self.stop()
            raise

    @property
    def addresses(self) -> list[str]:
        return [urlsplit(master.url).netloc for master in self.masters]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(self.addresses)}"

    def start(self, at: int) -> None:
        """The master number `at`, for the first time or again where it was, with its slots and without its keys."""
        again = self.masters[at] if at < len(self.masters) else None
        self.masters[at : at + 1] = [
            self._start(f"master-{at}", self._bus[at], urlsplit(again.url).port if again else None)
        ]

    def _start(self, name: str, bus: int, port: int | None = None) -> RedisServer:
        options = {
            "enabled": "yes",
            "port": str(bus),
            "config-file": f"{self._folder}/{name}.conf",
            "node-timeout": "2000",
            "require-full-coverage": "no",
        }
        words = [word for option, value in options.items() for word in (f"--cluster-{option}", value)]
        return RedisServer.start(port=port, more=[*words, "--dir", self._folder, "--repl-diskless-sync-delay", "0"])

    def add_replica(self, of: int) -> str:
        """One that has all that the master has, and takes its place when it dies. Returns its address."""
        self.replica = self._start("replica", free_port())
        with redis.Redis.from_url(self.replica.url, decode_responses=True) as client, self.client(of) as master:
            client.execute_command("CLUSTER", "MEET", *self._first_node())
            owner = master.execute_command("CLUSTER", "MYID")
            wait_until(lambda: owner in str(client.execute_command("CLUSTER NODES")))
            client.execute_command("CLUSTER", "REPLICATE", owner)
            wait_until(lambda: client.info("replication").get("master_link_status") == "up")
            own = client.execute_command("CLUSTER", "MYID")
        for at in range(MASTERS):
            with self.client(at) as client:
                wait_until(lambda client=client: own in str(client.execute_command("CLUSTER", "SLOTS")))
        return urlsplit(self.replica.url).netloc

    def _first_node(self) -> tuple[str, str, int]:
        host, _, port = self.addresses[0].rpartition(":")
        return host, port, self._bus[0]

    def _join(self) -> None:
        for at in range(MASTERS):
            with self.client(at) as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", BOUNDS[at], BOUNDS[at + 1] - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
                client.execute_command("CLUSTER", "MEET", *self._first_node())
        self.settle()

    def settle(self) -> None:
        """Until each master serves its slots and knows of the others."""
        wait_until(lambda: all(self._knows_all(at) for at in range(MASTERS)))

    def _knows_all(self, at: int) -> bool:
        with self.client(at) as client:
            told = client.execute_command("CLUSTER INFO")
        return told["cluster_slots_ok"] == str(SLOTS) and told["cluster_state"] == "ok"

    @contextmanager
    def killed(self, *masters: int) -> Iterator[None]:
        """Away for a while, and back without their keys."""
        for at in masters:
            self.masters[at].stop()
        try:
            yield
        finally:
            for at in masters:
                self.start(at)
            self.settle()

    @contextmanager
    def hung(self, at: int) -> Iterator[None]:
        os.kill(self.masters[at].pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.masters[at].pid, signal.SIGCONT)
            self.settle()

    @contextmanager
    def client(self, at: int) -> Iterator[Any]:
        """A plain connection to one master."""
        with redis.Redis.from_url(self.masters[at].url, decode_responses=True, socket_timeout=PATIENCE_S) as client:
            yield client

    def master_of(self, key: str) -> int:
        """Which one it is on, as the first that answers sees it."""
        slot = key_slot(key.encode())
        for at in range(MASTERS):
            try:
                with self.client(at) as client:
                    shares = client.execute_command("CLUSTER", "SLOTS")
            except redis.ConnectionError:
                continue
            (address,) = [f"{share[2][0]}:{share[2][1]}" for share in shares if share[0] <= slot <= share[1]]
            return self.addresses.index(address)
        raise NoRedis("nobody answers")

    def key_on(self, at: int, beginning: str = "k") -> str:
        """A key that the master number `at` has."""
        return next(key for key in (f"{beginning}{number}" for number in range(10_000)) if self.master_of(key) == at)

    def begin_move(self, key: str, to: int) -> None:
        """From now on, keys of this slot that are not there any more are asked of the new master (ASK)."""
        slot, at = key_slot(key.encode()), self.master_of(key)
        with self.client(at) as source, self.client(to) as target:
            target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.execute_command("CLUSTER", "MYID"))
            source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.execute_command("CLUSTER", "MYID"))

    def move_keys(self, key: str, to: int) -> None:
        slot, at = key_slot(key.encode()), self.master_of(key)
        host, _, port = self.addresses[to].rpartition(":")
        with self.client(at) as source:
            while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                source.execute_command("MIGRATE", host, port, "", 0, 5_000, "KEYS", *keys)

    def end_move(self, key: str, to: int) -> None:
        """From now on, the old master sends everybody to the new one (MOVED)."""
        slot = key_slot(key.encode())
        with self.client(to) as target:
            own = target.execute_command("CLUSTER", "MYID")
        for at in [to, *(other for other in range(MASTERS) if other != to)]:
            with self.client(at) as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", own)

    def move(self, key: str, to: int) -> None:
        """The slot of this key, with all that is in it."""
        self.begin_move(key, to)
        self.move_keys(key, to)
        self.end_move(key, to)

    def empty(self) -> None:
        for at in range(MASTERS):
            with self.client(at) as client:
                client.flushall()

    def stop(self) -> None:
        for server in [*self.masters, *([self.replica] if self.replica else [])]:
            server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
