"""A circuit breaker: what fails too often, or is too slow too often, is left alone for a while, then probed."""

from doorbuster.platform.breaker.breaker import Breaker, Permit, Snapshot
from doorbuster.platform.breaker.errors import CircuitOpen
from doorbuster.platform.breaker.settings import BreakerSettings, Force, State

__all__ = ["Breaker", "BreakerSettings", "CircuitOpen", "Force", "Permit", "Snapshot", "State"]
