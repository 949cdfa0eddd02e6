"""Named places where a test may kill the process, as a power cut would.

`DOORBUSTER_CRASH_AT=relay.applied` (or `name:3` for the third time) makes the process send itself SIGKILL there:
no handler, no flush, no `finally` runs. Unset, a crash point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from itertools import count

VARIABLE = "DOORBUSTER_CRASH_AT"

_name, _, _times = os.environ.get(VARIABLE, "").partition(":")
_passed = count(1)
_fatal = int(_times or 1)


def crash_point(name: str) -> None:
    """Dies here if the environment says so."""
    if name == _name and next(_passed) == _fatal:
        os.kill(os.getpid(), signal.SIGKILL)
