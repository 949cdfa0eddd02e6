"""The optional parts of the shop. Each can be switched off while the shop runs: what sells and is paid goes on."""

from __future__ import annotations

from msgspec import Struct

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.settings.declared import declare


class FeatureOff(Unavailable):
    """An optional part of the shop has been switched off for a while. Nothing was done."""

    slug = "feature-off"
    title = "This part of the shop is switched off for a while"


class FeaturesSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Redis and each outside neighbour have a switch of their own: `forced` in their `resilience` settings."""

    notifications: bool = True
    """Off: messages are written and wait; none is sent."""
    dispatch: bool = True
    """Off: no courier is offered anything; tasks wait, what is under way goes on."""
    live_streams: bool = True
    """Off: no new WebSocket or event stream is opened; clients ask again and again instead."""
    support: bool = True
    """Off: no new conversation is opened; those that are open go on."""
    fresh_categories: bool = True
    """Off: the list of categories is the one that was last read."""


FEATURES = declare("features", FeaturesSettings, FeaturesSettings())
