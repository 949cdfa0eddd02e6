"""(h) Five ways to deduct stock, side by side: on one hot SKU and on a thousand, on equal durability.

The inventory as the shop wires it, in process, without HTTP. Each strategy has an empty store of its own; rounds go in
turn. In the end all but a few units of the hot SKU are written off and more come than there are, so that overselling
would show; then rows are counted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from statistics import median
from typing import Literal, get_args

from msgspec import Struct

from doorbuster.contracts.inventory import Strategy
from doorbuster.lab.bench.machine import describe_durability, describe_machine
from doorbuster.lab.bench.stockroom import LOADS, Load, Rows, Sold, Stockroom, open_stockroom
from doorbuster.lab.bench.stores import ENGINES, Engine, Skipped, Stores, run_on_stores
from doorbuster.lab.bench.strategies_report import Side, StrategiesReport, StrategyFigures
from doorbuster.lab.postgres_server import NoPostgres
from doorbuster.lab.redis_server import NoRedis, RedisServer
from doorbuster.platform.redis import Redis

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
ON_REDIS: tuple[Strategy, ...] = ("redis_lua", "redis_lock")
ROUNDS = 3
WARM_UP_S = 0.3
LAST_UNITS, LAST_BUYERS = 100, 300
Where = Literal["all", "postgres", "sqlite"]


class FoundRedis(Struct, frozen=True):
    """An address, or why there is none."""

    url: str
    missing: str = ""


def run_strategies(
    seconds: float, where: Where, postgres_url: str | None, redis_url: str | None, say: Callable[[str], None]
) -> StrategiesReport:
    """`seconds` behind each figure, in ROUNDS interleaved rounds. Raises NoPostgres (it was asked for), NoRedis (the
    one at the address is in use), NotDurable, Unavailable."""
    options = "" if where == "all" else f" --store {where}"
    command = f"doorbuster bench strategies --seconds {seconds:g}{options}"
    with find_redis(redis_url) as redis:
        return run_on_stores(
            postgres_url, lambda stores: measure_strategies(stores, redis, where, seconds / ROUNDS, command, say)
        )


@contextmanager
def find_redis(given: str | None) -> Generator[FoundRedis]:
    """The one at the address, or one of our own; without any the strategies that need it are skipped."""
    try:
        server = RedisServer.start(given)
    except NoRedis as reason:
        yield FoundRedis("", str(reason))
        return
    try:
        yield FoundRedis(server.url)
    finally:
        server.stop()


async def measure_strategies(
    stores: Stores, redis: FoundRedis, where: Where, seconds: float, command: str, say: Callable[[str], None]
) -> StrategiesReport:
    """`seconds` is for each of ROUNDS rounds."""
    if where == "postgres" and stores.postgres is None:
        raise NoPostgres(stores.missing)
    machine, durability = describe_machine(), await describe_durability(stores)
    sides: dict[Engine, Side | Skipped] = {}
    broken: list[str] = []
    for engine in ENGINES if where == "all" else (where,):
        if engine in stores.engines:
            sides[engine] = await _measure_side(stores, engine, redis, seconds, broken, say)
        else:
            sides[engine] = Skipped(stores.missing)
    return StrategiesReport(machine=machine, command=command, breaches=broken, sides=sides, durability=durability)


async def _measure_side(
    stores: Stores, engine: Engine, redis: FoundRedis, seconds: float, broken: list[str], say: Callable[[str], None]
) -> Side:
    figures: dict[Load, dict[Strategy, StrategyFigures | Skipped]] = {load: {} for load in LOADS}
    async with AsyncExitStack() as stack:
        rooms = await _open_rooms(stack, stores, engine, redis.url)
        windows = await _in_turn(rooms, engine, seconds, say)
        for strategy, room in rooms.items():
            await room.leave(LAST_UNITS)
            await room.sell_to("hot", LAST_BUYERS)
            for load in LOADS:
                rows = await room.rows(load)
                broken += [f"{engine} {strategy} {load}: {breach}" for breach in breaches(room.answers[load], rows)]
                figures[load][strategy] = _figures(windows[load, strategy], room.answers[load], rows)
            broken += [f"{engine} {strategy}: {check}" for check in await room.broken_checks()]
    for load in LOADS:
        figures[load] = {each: figures[load].get(each, Skipped(redis.missing)) for each in STRATEGIES}
    return Side(figures["hot"], figures["spread"])


async def _open_rooms(
    stack: AsyncExitStack, stores: Stores, engine: Engine, redis_url: str
) -> dict[Strategy, Stockroom]:
    """Of all strategies that there is what they need for."""
    if redis_url:
        await stack.enter_async_context(_borrowed(redis_url))
    rooms: dict[Strategy, Stockroom] = {}
    for strategy in STRATEGIES:
        if redis_url or strategy not in ON_REDIS:
            settings = await stack.enter_async_context(stores.fresh(engine))
            rooms[strategy] = await stack.enter_async_context(open_stockroom(strategy, settings, redis_url))
    return rooms


async def _in_turn(
    rooms: Mapping[Strategy, Stockroom], engine: Engine, seconds: float, say: Callable[[str], None]
) -> dict[tuple[Load, Strategy], list[Sold]]:
    windows: dict[tuple[Load, Strategy], list[Sold]] = {}
    for load in LOADS:
        for number in range(ROUNDS):
            for strategy, room in rooms.items():
                await room.sell_for(load, WARM_UP_S)
                sold = await room.sell_for(load, seconds)
                windows.setdefault((load, strategy), []).append(sold)
                per_s = len(sold.latencies_s) / sold.seconds
                say(f"{load:6} {engine:9} {strategy:12} round {number + 1}: {per_s:7.0f}/s")
    return windows


@asynccontextmanager
async def _borrowed(url: str) -> AsyncGenerator[None]:
    """An empty Redis, emptied again. Raises NoRedis when there is something in it: somebody may need it."""
    redis = Redis(url)
    try:
        if any(await redis.everywhere("DBSIZE")):
            raise NoRedis("there are keys in this Redis: give a database that nobody uses")
        yield
        await redis.everywhere("FLUSHDB")
    finally:
        await redis.close()


def breaches(answers: Mapping[str, int], rows: Rows) -> Sequence[str]:
    """What the rows contradict: a unit sold twice, a hold that was not told of, a refusal while there was something."""
    found: list[str] = []
    if rows.oversold:
        found.append(f"{rows.oversold} units oversold")
    if rows.holds != answers.get("Hold", 0):
        found.append(f"{answers.get('Hold', 0)} were told that they hold, but there are {rows.holds} holds")
    if answers.get("OutOfStock", 0) and rows.promised < rows.units:
        found.append(f"{answers['OutOfStock']} were refused while there were units")
    return found


def _figures(windows: Sequence[Sold], answers: Mapping[str, int], rows: Rows) -> StrategyFigures:
    per_s = [len(window.latencies_s) / window.seconds for window in windows]
    return StrategyFigures(
        per_s=median(per_s),
        p50_ms=median(_at(window.latencies_s, 0.5) for window in windows) * 1000,
        p99_ms=median(_at(window.latencies_s, 0.99) for window in windows) * 1000,
        cpu_us=median(window.cpu_s / max(1, len(window.latencies_s)) for window in windows) * 1e6,
        holds=rows.holds,
        out_of_stock=answers.get("OutOfStock", 0),
        turned_away=answers.get("Overloaded", 0),
        oversold=rows.oversold,
        per_s_of_rounds=tuple(per_s),
    )


def _at(ascending: Sequence[float], share: float) -> float:
    return ascending[min(int(len(ascending) * share), len(ascending) - 1)] if ascending else 0.0
