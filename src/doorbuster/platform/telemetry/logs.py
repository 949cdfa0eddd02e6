"""Structured logs on standard error: for people on a terminal, JSON lines elsewhere. Secrets are masked."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_NAMES = r"(?:password|secret|token|authorization|cookie|signature|api.?key|credential)"
_SECRET_KEYS = re.compile(_NAMES, re.IGNORECASE)
# Every repetition is bounded or begins at a border: what strangers send is logged too, and must not keep us busy.
_SECRET_VALUES = re.compile(
    r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*"  # JSON web tokens
    r"|(?<=://)[^\s/@:]{0,100}:[^\s/@]{1,500}(?=@)"  # credentials in an address
    r"|(?i:(?<=bearer )\s*[^\s'\",]+)"
    r"|\b[0-9A-Za-z]{1,40}:[\w-]{43,200}"  # our signing keys
)
_WRITTEN_OUT = re.compile(
    rf"({_NAMES}[\w.-]{{0,40}}(?:['\"]?\s{{0,3}}=|['\"]\s{{0,3}}:)\s{{0,3}})"  # token=..., "token": ...
    r"\\*+(?:[(\[{][^)\]}]*[)\]}]?|b?'(?:[^'\\\n]|\\++[^\\])*+'?|b?\"(?:[^\"\\\n]|\\++[^\\])*+\"?|[^\s,;&'\")\]}]+)"
    r"|(\b(?:authorization|cookie|password|api.?key)\s{0,3}:\s{0,3})[^\r\n]+",  # a header, to the end of its line
    re.IGNORECASE,
)
MASK = "***"
NESTING_MAX = 8
"""Beyond, a value is written out and masked as text."""


def configure_logs(level: str = "info", process: str = "shop", as_json: bool | None = None) -> None:
    """To be called once per process, before anything logs."""
    set_log_level(level)
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(pad_event_to=0)
    structlog.configure(
        processors=[
            _only_from_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        # A line and its end in one write: door and back room write into the same file, also without a buffer.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(handlers=[_ThroughStructlog()], level=logging.WARNING)


_LEVELS = logging.getLevelNamesMapping()
_least = {"level": logging.INFO}
"""Loggers are made once and keep what they were made with; this they ask each time."""


def set_log_level(level: str) -> None:
    """From now on less is not logged by this process."""
    _least["level"] = _LEVELS[level.upper()]


def _only_from_level(_logger: object, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drops what is below the level. First in the line, so that what is dropped costs little."""
    if _LEVELS.get("ERROR" if method == "exception" else method.upper(), logging.ERROR) < _least["level"]:
        raise structlog.DropEvent
    return entry


class _ThroughStructlog(logging.Handler):
    """What libraries log (asyncio: an exception that nobody fetched) gets the same shape and masks."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        try:
            log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - as every handler does: a library must not fail because it cannot log
            self.handleError(record)


def mask_secrets(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Masks by the name of a field and by the look of a value, also inside exceptions, objects and nested values."""
    return {key: _masked(key, value, NESTING_MAX) for key, value in entry.items()}


def _masked(key: str, value: Any, depth: int) -> Any:
    if _SECRET_KEYS.search(key) and value:
        return MASK
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _masked_text(value)
    if isinstance(value, dict) and depth:
        return {_masked_text(str(inner)): _masked(str(inner), held, depth - 1) for inner, held in value.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    if isinstance(value, (list, tuple, set, frozenset)) and depth:
        return [_masked(key, held, depth - 1) for held in value]  # pyright: ignore[reportUnknownVariableType]
    return _masked_text(repr(value))  # pyright: ignore[reportUnknownArgumentType]


def _masked_text(text: str) -> str:
    return _WRITTEN_OUT.sub(rf"\1\2{MASK}", _SECRET_VALUES.sub(MASK, text))
