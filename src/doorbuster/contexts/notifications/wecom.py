"""The robot of a WeCom group: JSON to its webhook, `errcode` in the answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from doorbuster.contexts.notifications.channels import Away, Failed, Outcome, Refused, Sent
from doorbuster.contexts.notifications.model import Message
from doorbuster.contexts.notifications.templates import Shown, one_line
from doorbuster.platform.settings.tree import NotificationsSettings

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES_MAX = 16_384
TEXT_BYTES_MAX = 2_048
"""Of a text message; of markdown it would be 4,096."""
TOO_OFTEN, TOO_OFTEN_PAUSE_MS = 45_009, 60_000
SYSTEM_BUSY = -1
WRONG_ROBOT = (93_000, 40_001, 40_014, 42_001)
"""The address or its key is wrong: that is our setting's fault, not the message's."""

_shown = msgspec.json.Decoder(Shown)
_MARKUP = str.maketrans({sign: chr(ord(sign) + 0xFEE0) for sign in "<>[]()*_`#@\\~|"})
"""Signs that markdown or a mention begins with, by their full-width brothers."""


class _Answer(Struct):
    errcode: int
    errmsg: str = ""


_answer = msgspec.json.Decoder(_Answer)


class WeCom:
    at_once, per_recipient = 1, 1

    def __init__(self, settings: NotificationsSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: Message) -> Outcome:
        import aiohttp  # only here, and below: most shops have no robot

        body = msgspec.json.encode(self.words(_shown.decode(message.content)))
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                return await self._post(body)
        except TimeoutError:
            return Failed("no answer in time")  # it may have been taken
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            return Away(type(error).__name__)  # its text would hold the address, and so the key
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failed(type(error).__name__)

    def words(self, shown: Shown) -> dict[str, object]:
        """The robot's message. A text has no markup; in markdown ours is all there is."""
        if self._settings.wecom_format == "text":
            return {"msgtype": "text", "text": {"content": _cut(f"{shown.subject}\n{shown.body}")}}
        subject, body = shown.subject.translate(_MARKUP), shown.body.translate(_MARKUP)
        return {"msgtype": "markdown", "markdown": {"content": _cut(f"**{subject}**\n{body}")}}

    async def _post(self, body: bytes) -> Outcome:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
            )
        headers = {"Content-Type": "application/json"}
        async with self._session.post(
            self._settings.wecom_url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            text = await answer.content.read(ANSWER_BYTES_MAX)
            if answer.status != 200:
                return Away(f"the robot's server answered {answer.status}")
        try:
            said = _answer.decode(text)
        except msgspec.DecodeError:
            return Failed("the robot's server answered something else than its protocol")
        words = one_line(f"{said.errcode}: {said.errmsg}")
        if said.errcode == 0:
            return Sent()
        if said.errcode == TOO_OFTEN:
            return Away(words, TOO_OFTEN_PAUSE_MS)
        if said.errcode in WRONG_ROBOT:
            return Away(words)
        return Failed(words) if said.errcode == SYSTEM_BUSY else Refused(words)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _cut(text: str) -> str:
    return text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore")
