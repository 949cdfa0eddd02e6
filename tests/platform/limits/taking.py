"""A process that takes from a shared limit as fast as it can: `taking.py URL NAME KEY TRIES` prints how many it got."""

from __future__ import annotations

import asyncio
import sys

from doorbuster.platform.limits.algorithms import fixed_window, leaky_bucket, sliding_window, token_bucket
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.redis_limiter import RedisLimiter
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.redis import Redis

ALGORITHMS = {
    "TokenBucket": token_bucket.TokenBucket,
    "LeakyBucket": leaky_bucket.LeakyBucket,
    "FixedWindow": fixed_window.FixedWindow,
    "SlidingWindow": sliding_window.SlidingWindow,
}
SETTINGS = LimitSettings(limit=100, period_s=86_400, queue=99)


async def main(url: str, algorithm: str, key: str, tries: str) -> None:
    redis = Redis(url)
    hasty = HastyRedis(redis, limit_s=30.0)
    limiter = RedisLimiter(hasty, "processes", ALGORITHMS[algorithm](), lambda: SETTINGS)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    decisions = await asyncio.gather(*[limiter.take(key) for _ in range(int(tries))])
    sys.stdout.write(f"{sum(each.allowed for each in decisions)}\n")
    await hasty.close()
    await redis.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
