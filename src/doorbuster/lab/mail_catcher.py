"""A mail server that only receives: every e-mail becomes a file, to be read by people and programs.

python -m doorbuster.lab.mail_catcher FOLDER        prints {"host": ..., "port": ...} and ends with its standard input
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

LINE_BYTES_MAX = 4096
MAIL_BYTES_MAX = 1024 * 1024
RECIPIENTS_MAX = 100
LINES_OPEN_MAX = 64
IDLE_S = 60.0
HOST = "127.0.0.1"
_PATH = re.compile(rb"(?:FROM|TO):\s*<([!-~]{0,320}?)>", re.IGNORECASE)


class MailCatcher:
    """Writes `000001.eml`, `000002.eml`, … into a folder, each complete as soon as it has its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._open = 0

    async def serve(self, port: int = 0) -> asyncio.Server:
        """Raises OSError."""
        return await asyncio.start_server(self._line, HOST, port, limit=LINE_BYTES_MAX)

    def keep(self, sender: str, recipients: Sequence[str], content: bytes) -> Path:
        """The envelope stands before the message, where mail servers put it."""
        self._count += 1
        kept = self._folder / f"{self._count:06}.eml"
        envelope = [f"Return-Path: <{sender}>", *(f"Delivered-To: {recipient}" for recipient in recipients)]
        unfinished = kept.with_suffix(".part")
        unfinished.write_bytes("".join(f"{line}\r\n" for line in envelope).encode() + content)
        return unfinished.rename(kept)

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > LINES_OPEN_MAX:
                writer.write(b"421 too many connections\r\n")
            else:
                await _Dialogue(self, reader, writer).run()
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):  # gone or silent; TimeoutError is an OSError
            pass
        finally:
            self._open -= 1
            writer.close()


class _Dialogue:
    """One connection, command by command."""

    def __init__(self, catcher: MailCatcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._catcher = catcher
        self._reader = reader
        self._writer = writer
        self._sender: str | None = None
        self._recipients: list[str] = []

    async def run(self) -> None:
        self._say("220 mail catcher")
        while True:
            line = await self._read_line()
            if line is None:
                return self._say("500 line too long")
            verb = line[:4].upper().rstrip()
            if verb == b"QUIT":
                return self._say("221 bye")
            if verb == b"DATA" and self._recipients:
                if not await self._data():
                    return None
            else:
                self._say(self._answer(verb, line))

    def _answer(self, verb: bytes, line: bytes) -> str:
        if verb in (b"EHLO", b"HELO", b"RSET"):
            self._sender, self._recipients = None, []
            return "250 mail catcher"
        if verb == b"NOOP":
            return "250 ok"
        path = _PATH.search(line)
        if verb == b"MAIL" and path:
            self._sender, self._recipients = path[1].decode(), []
            return "250 ok"
        if verb == b"RCPT" and path and path[1] and self._sender is not None:
            if len(self._recipients) == RECIPIENTS_MAX:
                return "452 too many recipients"
            self._recipients.append(path[1].decode())
            return "250 ok"
        return "503 not now" if verb in (b"DATA", b"RCPT") else "502 not understood"

    async def _data(self) -> bool:
        """Takes a message in; False if the connection has to end, because nobody knows where the message does."""
        self._say("354 end with a full stop")
        lines: list[bytes] = []
        size = 0
        while True:
            line = await self._read_line()
            if line is None:
                self._say("500 line too long")
                return False
            if line == b".":
                break
            line = line.removeprefix(b".") if line.startswith(b"..") else line
            size += len(line) + 2
            if size <= MAIL_BYTES_MAX:
                lines.append(line)
        if size > MAIL_BYTES_MAX:
            self._say("552 too large")
        else:
            assert self._sender is not None, "there are recipients only after a sender"
            self._catcher.keep(self._sender, self._recipients, b"\r\n".join([*lines, b""]))
            self._say("250 kept")
        self._sender, self._recipients = None, []
        return True

    async def _read_line(self) -> bytes | None:
        """Without its end; None if it has none within the bound. Raises IncompleteReadError, TimeoutError."""
        try:
            async with asyncio.timeout(IDLE_S):
                return (await self._reader.readuntil(b"\n")).rstrip(b"\r\n")
        except asyncio.LimitOverrunError:
            return None

    def _say(self, words: str) -> None:
        self._writer.write(f"{words}\r\n".encode())


async def _serve(folder: Path, port: int) -> None:
    async with await MailCatcher(folder).serve(port) as server:
        ready = {"host": HOST, "port": server.sockets[0].getsockname()[1]}
        print(json.dumps(ready), flush=True)  # noqa: T201 - how it announces itself
        await asyncio.to_thread(sys.stdin.buffer.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(words.folder, words.port))


if __name__ == "__main__":
    main()
