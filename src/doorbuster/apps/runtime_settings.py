"""Every module that declares runtime settings. A test tells if one is missing.

The command line, the back room and the door all load this, so that a setting is known to whoever sets or follows it,
also where what reads it does not run. Such modules import nothing heavy.
"""

from __future__ import annotations

from doorbuster.apps import gateway
from doorbuster.contexts.notifications import resilience as of_messages
from doorbuster.contexts.payments import resilience as of_payments
from doorbuster.contexts.waiting_room import pacing as of_waiting_rooms
from doorbuster.platform import redis
from doorbuster.platform.cache import settings as of_caches
from doorbuster.platform.fallback import features
from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.shedding import settings as of_shedding
from doorbuster.platform.telemetry import log_level

DECLARING = (gateway, log_level, features, redis, of_caches, of_payments, of_messages, of_waiting_rooms, of_shedding)


def new_runtime(settings: Settings) -> Runtime:
    """For a process of this server; everything has its default until the store was read."""
    return Runtime(settings.process.labels)
