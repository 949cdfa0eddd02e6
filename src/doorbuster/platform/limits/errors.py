"""What a limiter's refusal looks like to the caller."""

from __future__ import annotations

import math
from collections.abc import Sequence

from doorbuster.kernel.errors import TooMany
from doorbuster.platform.limits.headers import Applied, rate_limit_headers


class RateLimited(TooMany):
    """A limit on requests is used up: `policy` names it. Nothing was done; the headers RateLimit and Retry-After tell
    when to come back."""

    slug = "rate-limited"
    title = "Too many requests in this time"

    def __init__(self, applied: Sequence[Applied]) -> None:
        """The last one refused."""
        refused = applied[-1]
        super().__init__(retry_after_s=max(1, math.ceil(refused.decision.retry_after_s)), policy=refused.name)
        self.headers = rate_limit_headers(applied)
