"""Calls to whatever may be slow or gone: bounded, limited in time, repeated with measure, broken off in time."""

from doorbuster.platform.neighbour.judging import Judge, does_not_answer, may_be_asked_again
from doorbuster.platform.neighbour.neighbour import Neighbour, NeighbourSnapshot, TooSlow
from doorbuster.platform.neighbour.registry import Neighbours
from doorbuster.platform.neighbour.settings import NeighbourSettings

__all__ = [
    "Judge",
    "Neighbour",
    "NeighbourSettings",
    "NeighbourSnapshot",
    "Neighbours",
    "TooSlow",
    "does_not_answer",
    "may_be_asked_again",
]
