"""Work that is bounded, and over when its block is: a pool of workers, stages one after another, and many at once."""

from doorbuster.platform.pools.ending import GaveUp
from doorbuster.platform.pools.many import at_most, outcomes_of
from doorbuster.platform.pools.pipeline import Pipeline, Stage
from doorbuster.platform.pools.worker_pool import PoolSettings, WorkerPool

__all__ = ["GaveUp", "Pipeline", "PoolSettings", "Stage", "WorkerPool", "at_most", "outcomes_of"]
