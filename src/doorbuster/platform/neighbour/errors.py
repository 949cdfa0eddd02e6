"""What an operator may be told."""

from __future__ import annotations

from doorbuster.kernel.errors import NotFound


class NeighbourNotFound(NotFound):
    """Nobody of this name and instance has been called by this process."""

    slug = "neighbour-not-found"
    title = "No such neighbour has been called"
