"""A bulkhead: so many at once, so many waiting, so long; what is beyond is refused at once."""

from doorbuster.platform.bulkhead.bulkhead import Bulkhead, BulkheadSettings

__all__ = ["Bulkhead", "BulkheadSettings"]
