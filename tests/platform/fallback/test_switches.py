"""A part that is switched off refuses new work, and keeps what it has."""

from __future__ import annotations

import pytest

from doorbuster.platform.fallback import FEATURES, FeatureOff, FeaturesSettings
from doorbuster.platform.http.live.limits import Places
from doorbuster.platform.settings.tree import LiveSettings


def test_live_streams_can_be_switched_off_and_on_while_some_are_open():
    features = FeaturesSettings()
    places = Places(LiveSettings(), lambda: features.live_streams)
    with places.taken(1):
        features = FeaturesSettings(live_streams=False)
        with pytest.raises(FeatureOff) as off, places.taken(2):
            pass
        assert (off.value.retry_after_s, places.open) == (5, 1)
        features = FeaturesSettings()
        with places.taken(2):
            assert places.open == 2


def test_everything_is_on_by_default():
    assert all(getattr(FEATURES.default, name) for name in FeaturesSettings.__struct_fields__)
