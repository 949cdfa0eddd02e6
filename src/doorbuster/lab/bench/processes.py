"""What processes cost: memory and processor time of a process and its children, as the system shows them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

PROC = Path("/proc")
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM, _RSS_PAGES = 1, 11, 12, 13, 14, 21
"""Places in /proc/<pid>/stat behind the name, which ends with the last parenthesis; see proc(5)."""


async def postmaster_of(url: str) -> int | None:
    """The process id of the PostgreSQL behind `url`, if it runs on this machine and may be looked at."""
    import asyncpg

    connection = await cast(Any, asyncpg).connect(url)
    try:
        backend: int = await connection.fetchval("SELECT pg_backend_pid()")
        try:
            name = (PROC / str(backend) / "comm").read_text().strip()
        except OSError:
            return None
        fields = _stat(backend)
        return int(fields[_PARENT]) if fields and name.startswith("postgres") else None
    finally:
        await connection.close()


def cpu_s_of_family(parent: int | None) -> float | None:
    """User and system time of a process and its children so far, also of those that have ended. Linux only."""
    fields = _stat(parent) if parent is not None else None
    if fields is None:
        return None
    ticks = sum(int(fields[place]) for place in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
    ticks += sum(int(child[_USER]) + int(child[_SYSTEM]) for pid, child in _family(parent) if pid != parent)
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_s_of(pid: int) -> float:
    """User and system time of one process so far, without its children; 0 where the system does not show it."""
    fields = _stat(pid)
    return 0.0 if fields is None else (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")


def children_of(parent: int) -> list[int]:
    """The processes that a process has started, those that live."""
    return sorted(pid for pid, _ in _family(parent) if pid != parent)


def rss_mb_of_family(parent: int) -> list[float]:
    """Resident memory of a process and of its children, the parent first. Pages they share count in each."""
    if not PROC.is_dir():
        return _rss_mb_by_ps(parent)
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    return [int(fields[_RSS_PAGES]) * page_mb for _, fields in sorted(_family(parent), key=lambda of: of[0] != parent)]


def _family(parent: int | None) -> Iterator[tuple[int, list[str]]]:
    for folder in PROC.iterdir():
        pid = int(folder.name) if folder.name.isdecimal() else 0
        fields = _stat(pid) if pid else None
        if fields is not None and parent in (pid, int(fields[_PARENT])):
            yield pid, fields


def _stat(pid: int) -> list[str] | None:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # ended meanwhile, or not for us to see
        return None


def _rss_mb_by_ps(parent: int) -> list[float]:
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,rss="], capture_output=True, check=True)  # noqa: S607
    processes = [[int(field) for field in line.split()] for line in listing.stdout.splitlines()]
    family = [(pid, rss_kb) for pid, parent_pid, rss_kb in processes if parent in (pid, parent_pid)]
    return [rss_kb / 1024 for _, rss_kb in sorted(family, key=lambda of: of[0] != parent)]
