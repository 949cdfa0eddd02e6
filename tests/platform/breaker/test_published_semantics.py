"""What others publish about their breakers, and what ours does in the same situations.

Sources: Hystrix, wiki pages "How it Works" and "Configuration" (circuitBreaker.requestVolumeThreshold 20,
errorThresholdPercentage 50, sleepWindowInMilliseconds 5000, metrics.rollingStats 10 s in 10 buckets; one probe).
Resilience4j, documentation page "CircuitBreaker" (failureRateThreshold "equal or greater", minimumNumberOfCalls,
slowCallDurationThreshold "greater than", slowCallRateThreshold, permittedNumberOfCallsInHalfOpenState,
maxWaitDurationInHalfOpenState, ignoreExceptions). Sentinel, wiki page "Circuit Breaking" (minRequestAmount,
statIntervalMs, slowRatioThreshold; one probe).

Sentinel opens *above* its ratio, the two others *at* it; we follow the two.
"""

from __future__ import annotations

import pytest
from msgspec import Struct

from doorbuster.platform.breaker import Breaker, BreakerSettings, CircuitOpen
from doorbuster.platform.breaker.breaker import Outcome
from platform_ticking import Ticking

HYSTRIX = BreakerSettings(
    window_ms=10_000, buckets=10, calls_min=20, failed_percent=50, open_ms=5_000, probes=1, slow_ms=3_600_000
)
RESILIENCE4J = BreakerSettings(
    window_ms=100_000,
    buckets=100,
    calls_min=100,
    failed_percent=50,
    slow_ms=60_000,
    slow_percent=100,
    open_ms=60_000,
    probes=10,
)
SENTINEL = BreakerSettings(
    window_ms=1_000, buckets=1, calls_min=5, failed_percent=100, slow_ms=50, slow_percent=60, open_ms=10_000, probes=1
)


class Row(Struct, frozen=True):
    """`script`: g(ood), f(ailed), s(low), c(ancelled), p(robe is let through), r(efused), w(ait until it is open no
    more), t(he window passes)."""

    source: str
    says: str
    settings: BreakerSettings
    script: str
    state: str


TABLE = [
    Row("Hystrix", "19 requests in the window do not trip it though all fail", HYSTRIX, "f" * 19, "closed"),
    Row("Hystrix", "the volume reached, at 50 % it trips", HYSTRIX, "gf" * 10, "open"),
    Row("Hystrix", "the volume reached, below 50 % it does not", HYSTRIX, "g" * 11 + "f" * 9, "closed"),
    Row("Hystrix", "requests are counted in a rolling window", HYSTRIX, "f" * 19 + "t" + "f" * 19, "closed"),
    Row("Hystrix", "open, all requests are short-circuited", HYSTRIX, "f" * 20 + "rrr", "open"),
    Row(
        "Hystrix",
        "after the sleep window the next single request is let through",
        HYSTRIX,
        "f" * 20 + "wpr",
        "half_open",
    ),
    Row("Hystrix", "it fails: open for another sleep window", HYSTRIX, "f" * 20 + "wfr", "open"),
    Row("Hystrix", "it succeeds: closed", HYSTRIX, "f" * 20 + "wg", "closed"),
    Row("Resilience4j", "99 of at least 100 calls decide nothing", RESILIENCE4J, "f" * 99, "closed"),
    Row("Resilience4j", "equal to the threshold is enough", RESILIENCE4J, "gf" * 50, "open"),
    Row("Resilience4j", "slow calls at the slow rate threshold", RESILIENCE4J, "s" * 100, "open"),
    Row("Resilience4j", "one quick call among the slow", RESILIENCE4J, "g" + "s" * 99, "closed"),
    Row(
        "Resilience4j",
        "a permitted number of calls when half open",
        RESILIENCE4J,
        "f" * 100 + "w" + "p" * 10 + "r",
        "half_open",
    ),
    Row(
        "Resilience4j", "rate below the threshold: closed", RESILIENCE4J, "f" * 100 + "w" + "f" * 4 + "g" * 6, "closed"
    ),
    Row("Resilience4j", "rate at the threshold: open", RESILIENCE4J, "f" * 100 + "w" + "g" * 5 + "f" * 5, "open"),
    Row(
        "Resilience4j",
        "ignored exceptions are neither success nor failure",
        RESILIENCE4J,
        "c" * 200 + "f" * 99,
        "closed",
    ),
    Row("Sentinel", "fewer than minRequestAmount", SENTINEL, "ssss", "closed"),
    Row("Sentinel", "the ratio of slow requests in the interval", SENTINEL, "gsgsss", "open"),
    Row("Sentinel", "intervals are counted apart", SENTINEL, "ssss" + "t" + "ssss", "closed"),
    Row("Sentinel", "half open, the next request decides: slow", SENTINEL, "sssss" + "ws", "open"),
    Row("Sentinel", "half open, the next request decides: quick", SENTINEL, "sssss" + "wg", "closed"),
]


OUTCOMES: dict[str, Outcome] = {"g": "good", "f": "failed", "c": "given_up"}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.source}: {row.says}")
def test_ours_does_as_they_say(row: Row):
    time = Ticking()
    breaker = Breaker(lambda: row.settings, time)
    # So that a slow call does not outlive its window, those of a script all begin before the first one ends.
    slow = [breaker.ask() for _ in range(row.script.split("w")[0].count("s"))]
    time.advance(row.settings.slow_ms + 1 if slow else 0)
    for step in row.script:
        if step in OUTCOMES:
            breaker.ask().end(OUTCOMES[step])
        elif step == "p":
            breaker.ask()
        elif step == "r":
            with pytest.raises(CircuitOpen):
                breaker.ask()
        elif step == "s":
            permit = slow.pop() if slow else breaker.ask()
            time.advance(0 if time.now - permit.began_ms > row.settings.slow_ms else row.settings.slow_ms + 1)
            permit.end("good")
        else:
            time.advance({"w": row.settings.open_ms, "t": row.settings.window_ms}[step])
    assert breaker.snapshot().state == row.state
