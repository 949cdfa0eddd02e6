"""What a caller is told while a neighbour is left alone."""

from __future__ import annotations

from doorbuster.kernel.errors import Unavailable


class CircuitOpen(Unavailable):
    """A part that is needed has failed too often, so it is not even asked for a while. Nothing was done."""

    slug = "circuit-open"
    title = "A part of the shop does not answer and is left alone for a while"
