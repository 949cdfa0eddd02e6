"""(a) Durable claims per second over HTTP: the same server on no store, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

from msgspec import Struct

from doorbuster.lab.bench.books import breaches, open_books
from doorbuster.lab.bench.closed_loop import Window, claim_for
from doorbuster.lab.bench.crowd import tokens_for
from doorbuster.lab.bench.messages import STORES, ServerPlan, Store
from doorbuster.lab.bench.processes import cpu_s_of_family, postmaster_of
from doorbuster.lab.bench.server_process import ServerProcess, bench_server
from doorbuster.lab.bench.stores import Skipped, Stores
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import Settings


class Round(Struct, frozen=True):
    """One window. Processor times are seconds within it; None where the system does not show them."""

    window: Window
    server_cpu_s: float
    postgres_cpu_s: float | None

    @property
    def per_s(self) -> float:
        return self.window.claims / self.window.seconds

    @property
    def cpu_us(self) -> float:
        return self.server_cpu_s / self.window.claims * 1e6

    @property
    def postgres_cpu_us(self) -> float | None:
        return None if self.postgres_cpu_s is None else self.postgres_cpu_s / self.window.claims * 1e6


class HttpFigures(Struct, frozen=True):
    """Medians over the rounds. `cpu_us`: processor time of the server per claim; `cores`: how much of it was busy."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    cores: float
    postgres_cpu_us: float | None
    claims: int
    per_s_of_rounds: tuple[float, ...]


class HttpResult(Struct, frozen=True):
    figures: Mapping[Store, HttpFigures | Skipped]
    breaches: Sequence[str]


async def measure_http(stores: Stores, seconds: float, rounds: int, say: Callable[[str], None]) -> HttpResult:
    """Rounds in turn (none, sqlite, postgres, none, ...), so that a noisy moment hits all of them alike."""
    key = Key.generate()
    tokens = tokens_for(key, seconds)
    measured: dict[Store, list[Round]] = {}
    broken: list[str] = []
    async with AsyncExitStack() as stack:
        benches = [await stack.enter_async_context(_bench(store, stores, key, broken)) for store in _there(stores)]
        for number in range(rounds):
            for bench in benches:
                done = await bench.measure(seconds, tokens)
                measured.setdefault(bench.store, []).append(done)
                say(f"http  {bench.store:9} round {number + 1}: {done.per_s:7.0f}/s, {done.cpu_us:5.0f} µs per claim")
    figures: dict[Store, HttpFigures | Skipped] = {store: _figures(of_store) for store, of_store in measured.items()}
    for store in STORES:
        figures.setdefault(store, Skipped(stores.missing))
    return HttpResult(figures, broken)


def _there(stores: Stores) -> Sequence[Store]:
    return [store for store in STORES if store == "none" or store in stores.engines]


class _Bench:
    """A store with its running server."""

    def __init__(self, store: Store, server: ServerProcess, postmaster: int | None) -> None:
        self.store: Store = store
        self.acknowledged = 0
        self.others: list[str] = []
        self._server = server
        self._postmaster = postmaster

    async def measure(self, seconds: float, tokens: Sequence[str]) -> Round:
        """One window on a new sale."""
        marks: list[tuple[float, float | None]] = []

        async def mark() -> None:
            marks.append((await self._server.cpu_s(), cpu_s_of_family(self._postmaster)))

        window = await claim_for(seconds, self._server.base_url, await self._server.new_sale(), tokens, mark)
        self.acknowledged += window.claims_in_all
        self.others += [f"http {self.store}: {count} answers were {kind}" for kind, count in window.others.items()]
        (server_from, postgres_from), (server_to, postgres_to) = marks
        postgres_s = None if postgres_from is None or postgres_to is None else postgres_to - postgres_from
        return Round(window, server_to - server_from, postgres_s)


@asynccontextmanager
async def _bench(store: Store, stores: Stores, key: Key, broken: list[str]) -> AsyncGenerator[_Bench]:
    """In the end, with the server gone, the rows are counted; what is wrong is added to `broken`."""
    async with stores.fresh("postgres" if store == "postgres" else "sqlite") as settings:
        postmaster = await postmaster_of(settings.database.url) if settings.database.url else None
        async with bench_server(ServerPlan(store, settings, key.render())) as server:
            bench = _Bench(store, server, postmaster)
            yield bench
        broken += bench.others + await verify(store, settings, bench.acknowledged)


async def verify(store: Store, settings: Settings, acknowledged: int) -> list[str]:
    """What contradicts the 201s; the server without a store must have kept nothing."""
    return breaches(f"http {store}", 0 if store == "none" else acknowledged, await open_books(settings))


def _figures(rounds: Sequence[Round]) -> HttpFigures:
    cpu_us = median(done.cpu_us for done in rounds)
    per_s = median(done.per_s for done in rounds)
    postgres = [done.postgres_cpu_us for done in rounds if done.postgres_cpu_us is not None]
    return HttpFigures(
        per_s=per_s,
        p50_ms=median(done.window.p50_ms for done in rounds),
        p99_ms=median(done.window.p99_ms for done in rounds),
        cpu_us=cpu_us,
        cores=cpu_us * per_s / 1e6,
        postgres_cpu_us=median(postgres) if postgres else None,
        claims=sum(done.window.claims_in_all for done in rounds),
        per_s_of_rounds=tuple(done.per_s for done in rounds),
    )
