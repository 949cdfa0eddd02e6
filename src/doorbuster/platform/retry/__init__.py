"""Trying again without making things worse: jitter, a budget, no retry of a retry, and an end. And hedged reads."""

from doorbuster.platform.retry.attempts import HEADER, attempt, attempt_of_header, is_retry, trying
from doorbuster.platform.retry.budget import RetryBudget
from doorbuster.platform.retry.hedging import HedgeSettings, Hedging
from doorbuster.platform.retry.retrying import Retrying, RetrySettings, full_jitter_ms

__all__ = [
    "HEADER",
    "HedgeSettings",
    "Hedging",
    "RetryBudget",
    "RetrySettings",
    "Retrying",
    "attempt",
    "attempt_of_header",
    "full_jitter_ms",
    "is_retry",
    "trying",
]
