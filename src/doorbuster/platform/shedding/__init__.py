"""Adaptive load shedding: what cannot be done in time is refused at once, the least urgent first (docs/shedding.md)."""

from doorbuster.platform.shedding.settings import SHEDDING, SheddingSettings
from doorbuster.platform.shedding.shedder import ClassCounts, Place, Shedder, ShedderSnapshot

__all__ = ["SHEDDING", "ClassCounts", "Place", "Shedder", "ShedderSnapshot", "SheddingSettings"]
