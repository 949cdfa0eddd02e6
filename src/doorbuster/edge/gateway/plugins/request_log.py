"""One line for a sample of requests, and for each that failed or took long."""

from __future__ import annotations

import random
import time

import structlog

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.settings import RequestLog
from doorbuster.kernel.errors import ShopError
from doorbuster.platform.http.problems import status_of

log = structlog.get_logger("requests")


def logged(settings: RequestLog, following: Handler, dice: random.Random) -> Handler:
    share, slow_s = settings.percent / 100, settings.slow_s

    async def ask_and_log(exchange: Exchange) -> None:
        begun_s = time.monotonic()
        refused = 0
        try:
            await following(exchange)
        except ShopError as error:
            refused = status_of(type(error))
            raise
        except Exception:
            refused = 500
            raise
        finally:
            took_s = time.monotonic() - begun_s
            status = exchange.status or refused
            if status >= 500 or took_s >= slow_s or dice.random() < share:
                _log(exchange, status, took_s)

    return ask_and_log


def _log(exchange: Exchange, status: int, took_s: float) -> None:
    """`status` 0: the client left before there was an answer. The query is left out: it may hold what is private."""
    context = exchange.context
    log.info(
        "request",
        method=context.method,
        path=context.path,
        status=status,
        took_ms=round(took_s * 1000, 2),
        route=exchange.route,
        upstream=exchange.upstream,
        priority=context.priority.name.lower(),
        request_id=context.request_id,
        trace_id=context.trace.trace_id,
    )
