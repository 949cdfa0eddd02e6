"""``python -m doorbuster.lab.payment_simulator``; see ``--help``."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys

import uvloop

from doorbuster.lab.payment_simulator.options import parse_options
from doorbuster.lab.payment_simulator.server import serve


def main(arguments: list[str]) -> int:
    """Run the simulator; 0 after a graceful end, 1 when address or data file cannot be used."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    options = parse_options(arguments)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"payment simulator: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
