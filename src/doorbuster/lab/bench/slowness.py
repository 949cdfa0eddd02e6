"""Clients as slow as they can be (in the manner of slowhttptest), in a process of their own:

    python -m doorbuster.lab.bench.slowness HOST PORT COUNT

A third each send a head byte by byte, send a body byte by byte, and never read their answers. Whoever is closed comes
back. A line "ready" says that all of them were connected once; the process ends with its input.
"""

from __future__ import annotations

import asyncio
import socket
import sys

DRIP_S = 1.0
BACK_S = 0.2
HEAD = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\nx-slow: a"
BODY = b"POST /v1/sales/1/claims HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
READ = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 8


async def be_slow(host: str, port: int, number: int, connected: asyncio.Semaphore) -> None:
    first = True
    while True:
        try:
            await _one_connection(host, port, number, connected if first else None)
            first = False
        except OSError:
            pass  # closed by the server, as it should be
        await asyncio.sleep(BACK_S)


async def _one_connection(host: str, port: int, number: int, connected: asyncio.Semaphore | None) -> None:
    """Until the server has had enough. Raises OSError."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(line, (host, port))
        if connected is not None:
            connected.release()
        await loop.sock_sendall(line, (HEAD, BODY, READ)[number % 3])
        reads = number % 3 == 2
        while True:
            await asyncio.sleep(DRIP_S)
            if reads and line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0] != 1:
                return  # not established any more
            if not reads:
                await loop.sock_sendall(line, b"a")


async def main(host: str, port: int, count: int) -> None:
    connected = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        slow: list[asyncio.Task[None]] = []
        for number in range(count):
            slow.append(group.create_task(be_slow(host, port, number, connected)))
            if number % 50 == 49:
                await asyncio.sleep(0.05)
        for _ in range(count):
            await connected.acquire()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.read)
        for each in slow:
            each.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
