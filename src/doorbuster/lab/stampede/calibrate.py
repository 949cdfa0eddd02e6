"""How fast this generator is on this machine: one core of it against the sink in a process of its own.

python -m doorbuster.lab.stampede.calibrate [arrivals per second] [seconds]
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import msgspec
import uvloop

from .buyers import Buyer
from .ledger import Ledger
from .plan import Plan
from .rush import rush
from .sink import HOST
from .tally import Rush

TOKEN_CHARACTERS = 220  # as long as a signed access token
BUYERS = 20_000


async def calibrate(rate_per_s: float, duration_s: float) -> Rush:
    """Offers `rate_per_s` claims for `duration_s` seconds to a sink that is started and ended here."""
    sink = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"{__package__}.sink",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        port = int(await cast("asyncio.StreamReader", sink.stdout).readline())
        plan = Plan(
            base_url=f"http://{HOST}:{port}",
            sale_id="1",
            rate_per_s=rate_per_s,
            duration_s=duration_s,
            double_click_share=0,
            cheat_share=0,
        )
        buyers = [Buyer(f"{number:0{TOKEN_CHARACTERS}d}", str(number)) for number in range(BUYERS)]
        return await rush(plan, buyers, Ledger())
    finally:
        cast("asyncio.StreamWriter", sink.stdin).close()
        await sink.wait()


def main(arguments: list[str]) -> None:
    """Measures and writes the count as JSON; `per_s` is what was really answered."""
    rate_per_s, duration_s = (float(value) for value in (arguments + ["30000", "5"][len(arguments) :])[:2])
    load = uvloop.run(calibrate(rate_per_s, duration_s))
    figures = {"per_s": round(load.answered / load.duration_s), **msgspec.to_builtins(load)}
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(figures)).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
