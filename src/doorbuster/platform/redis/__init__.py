"""The connection to Redis, one server or a cluster. The client is imported only by who opens one."""

from doorbuster.platform.redis.client import Redis
from doorbuster.platform.redis.scripts import Call, Script, Source
from doorbuster.platform.redis.settings import CONNECTIONS_MAX, REDIS, TIMEOUT_S

__all__ = ["CONNECTIONS_MAX", "REDIS", "TIMEOUT_S", "Call", "Redis", "Script", "Source"]
