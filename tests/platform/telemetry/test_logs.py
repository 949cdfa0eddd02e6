"""Logs: one shape, and no secret in them, wherever one was planted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from msgspec import Struct

from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.secrets import Secrets
from doorbuster.platform.settings.tree import AuthSettings, DatabaseSettings, PaymentsSettings, Settings
from doorbuster.platform.telemetry.logs import MASK, configure_logs

CANARY = "canary7f3a"
KEY = Key.generate()
TOKEN = KeyRing([KEY], SystemClock()).sign(Principal(1, "admin"), 900)
ADDRESS = f"postgresql://shop:{CANARY}@db.example:5432/shop"

Output = Callable[[], str]


@pytest.fixture(params=[True, False], ids=["json", "terminal"])
def output(request: pytest.FixtureRequest) -> Iterator[Output]:
    """Configures the logs as a process does; `output()` is what was written to standard error."""
    saved, root, written = structlog.get_config(), logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    with contextlib.redirect_stderr(written):
        configure_logs("debug", "test", request.param)
    yield written.getvalue
    structlog.configure(**saved)
    structlog.contextvars.clear_contextvars()
    root.handlers = handlers
    root.setLevel(level)


class Holder(Struct):
    password: str
    note: str = ""


@dataclass
class Login:
    name: str
    refresh_token: str


class Opaque:
    def __repr__(self) -> str:
        return f"<connection to {ADDRESS}>"


FIELDS = [
    "password",
    "Password",
    "new_password",
    "password_hash",
    "staff.password",
    "secret",
    "webhook_secrets",
    "client-secret",
    "token",
    "access_token",
    "refreshToken",
    "Authorization",
    "proxy-authorization",
    "cookie",
    "Set-Cookie",
    "signature",
    "doorbuster-signature",
    "api_key",
    "apikey",
    "x-api-key",
    "credentials",
]

VALUES: dict[str, Any] = {
    "token in a text": f"got {TOKEN}, refused",
    "token without a signature": TOKEN.rpartition(".")[0] + ".",
    "bearer": f"Authorization was Bearer {CANARY}",
    "bearer, small and spaced": f"bearer   {CANARY}",
    "address": f"cannot connect to {ADDRESS}",
    "signing key": f"keys are {KEY.render()}",
    "query": f"/v1/verify?token={CANARY}&x=1",
    "assignment": f"password = {CANARY}",
    "quoted assignment": f"password='{CANARY} and more {CANARY}'",
    "header": f"Authorization: Basic {CANARY}\nAccept: */*",
    "cookie": f"Cookie: session={CANARY}; other={CANARY}",
    "json": json.dumps({"user": {"api_key": CANARY, "password": [CANARY, CANARY]}}),
    "escaped quote": json.dumps({"password": f'a"{CANARY}'}),
    "cut off": f"password='{CANARY} and so on",
    "bytes": f"Bearer {CANARY}".encode(),
    "bytes of a token": TOKEN.encode(),
    "struct": Holder(CANARY),
    "struct with an address": Holder("", ADDRESS),
    "dataclass": Login("somebody", CANARY),
    "object": Opaque(),
    "exception": ValueError(f"no such token: {TOKEN}"),
    "settings": Settings(
        database=DatabaseSettings(url=ADDRESS),
        auth=AuthSettings(keys=(KEY.render(),)),
        payments=PaymentsSettings(webhook_secrets=(CANARY, CANARY)),
    ),
    "secrets": Secrets((KEY.render(),), (CANARY, CANARY)),
}
PLANTED = (CANARY, TOKEN, TOKEN.split(".")[1], KEY.render().partition(":")[2])


def nested(value: Any) -> dict[str, Any]:
    """The same value in every kind of place."""
    return {
        "plain": value,
        "list": [value],
        "tuple": (1, (value,)),
        "dictionary": {"a": {"b": [{"c": value}]}},
        "deep": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": value}}}}}}}}}},
        "list of dictionaries": [{"a": 1}, {"a": value}],
        "numbered": {1: value},
    }


def assert_clean(written: str) -> None:
    assert written, "something was logged"
    for secret in PLANTED:
        assert secret not in written


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_with_the_name_of_a_secret_is_masked_however_deep(output: Output, field: str):
    log = structlog.get_logger("test")
    for value in (CANARY, [CANARY], {"a": CANARY}, CANARY.encode(), {CANARY: 1}, Opaque()):
        log.info("planted", **{field: value})
        log.info("planted", **nested({field: value}))
    log.bind(**{field: CANARY}).warning("planted")
    structlog.contextvars.bind_contextvars(**{field: CANARY})
    log.error("planted")
    written = output()
    assert_clean(written)
    assert MASK in written


@pytest.mark.parametrize("case", VALUES)
def test_a_value_that_looks_like_a_secret_is_masked_wherever_it_is(output: Output, case: str):
    value, log = VALUES[case], structlog.get_logger("test")
    for place, held in nested(value).items():
        log.info("planted", **{place.replace(" ", "_"): held})
    log.info(f"planted {value}")
    log.info("planted", **{"as a key": {str(value): 1}})
    written = output()
    assert_clean(written)
    assert MASK in written


@pytest.mark.parametrize("case", VALUES)
def test_an_exception_is_masked_with_its_causes(output: Output, case: str):
    log = structlog.get_logger("test")
    try:
        try:
            raise ValueError(f"first {VALUES[case]}")
        except ValueError as error:
            error.add_note(f"noted {VALUES[case]}")
            raise RuntimeError({"cause": VALUES[case]}) from error
    except RuntimeError as error:
        log.exception("planted")
        log.warning("planted", exc_info=error)
        log.warning("planted", error=repr(error))
        log.warning("planted", error=error)
    written = output()
    assert_clean(written)
    assert "RuntimeError" in written and "ValueError" in written, "the trace is there"


def test_what_libraries_log_is_masked_too(output: Output):
    try:
        raise ConnectionError(ADDRESS)
    except ConnectionError:
        logging.getLogger("library").exception("cannot reach %s", ADDRESS)
    logging.getLogger("library").warning("Bearer %s", CANARY)
    logging.getLogger("library").info("not this loud")
    written = output()
    assert_clean(written)
    assert "library" in written and "Traceback" in written and "not this loud" not in written


async def test_an_exception_that_nobody_fetched_is_masked_too(output: Output):
    async def fail() -> None:
        raise ConnectionError(ADDRESS)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    written = output()
    assert_clean(written)
    assert "never retrieved" in written


def test_what_is_no_secret_stays_readable(output: Output):
    fields = {
        "error": "InvalidToken: The access token is not valid",
        "address": "http://127.0.0.1:8000",
        "documentation": "http://[::1]:8000/docs",
        "at": "12:30:00",
        "order_id": 2**62,
        "took_s": 0.25,
        "ok": True,
        "nothing": None,
        "words": ["wrong-credentials", "茶"],
        "consumer": "orders.claims",
    }
    structlog.get_logger("test").info("sold out", **fields)
    written = output()
    assert MASK not in written
    if written.startswith("{"):
        told = json.loads(written)
        assert {name: told[name] for name in fields} == fields
        assert (told["event"], told["level"], told["process"]) == ("sold out", "info", "test")
        assert told["timestamp"].endswith("Z")


def test_a_line_is_an_object_whatever_is_logged(output: Output):
    log = structlog.get_logger("test")
    log.info("several\nlines", b=b"\xff", o=object(), s={1}, n=float("inf"), d={(1, 2): 3})
    cyclic: dict[str, Any] = {}
    cyclic["itself"] = cyclic
    log.info("a circle", cyclic=cyclic)
    written = output()
    if written.startswith("{"):
        assert [json.loads(line)["event"] for line in written.splitlines()] == ["several\nlines", "a circle"]


@pytest.mark.parametrize(
    "piece", ["x", "eyJ", "://:", "token", "token=", "token='", "token='\\\\", "\\", "a:", "bearer ", "password:", "-"]
)
def test_masking_takes_time_in_proportion_to_what_strangers_send(output: Output, piece: str):
    """A quadratic pattern would take minutes here."""
    started_s = time.process_time()
    structlog.get_logger("test").info("planted", text=piece * (200_000 // len(piece)))
    assert time.process_time() - started_s < 5
    assert output()
