"""Which errors speak against a neighbour. A business refusal does not: who says no has answered."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from doorbuster.kernel.errors import Busy, ShopError
from doorbuster.platform.breaker import CircuitOpen

Verdict = Callable[[Exception], bool]


def does_not_answer(error: Exception) -> bool:
    """Busy kinds (unavailable, overloaded, asked too often, outcome unknown) and whatever is no error of the shop:
    a lost connection, a time limit, an answer that cannot be understood."""
    return isinstance(error, Busy) or not isinstance(error, ShopError)


def may_be_asked_again(error: Exception) -> bool:
    """The same, but for a circuit further on that is open: to ask again would ask nobody."""
    return does_not_answer(error) and not isinstance(error, CircuitOpen)


class Judge(Struct, frozen=True):
    """`fails`: counts against the neighbour. `worth_another`: another try may help."""

    fails: Verdict = does_not_answer
    worth_another: Verdict = may_be_asked_again


COMMON = Judge()
