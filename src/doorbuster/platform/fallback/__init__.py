"""Degradation: optional parts that can be switched off, and declared answers for when a part does not answer."""

from doorbuster.platform.fallback.degradable import Answer, Degradable
from doorbuster.platform.fallback.features import FEATURES, FeatureOff, FeaturesSettings

__all__ = ["FEATURES", "Answer", "Degradable", "FeatureOff", "FeaturesSettings"]
