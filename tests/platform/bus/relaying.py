"""A process of its own that relays: `python relaying.py FOLDER`. It ends when nothing is left, or at its crash point.

Its batches hold ten events.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

from doorbuster.kernel.clock import SystemClock
from doorbuster.platform.bus import relay as module
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.sqlite import SqliteDatabase

spec = importlib.util.spec_from_file_location("ledger", Path(__file__).with_name("ledger.py"))
assert spec is not None and spec.loader is not None
ledger = importlib.util.module_from_spec(spec)
sys.modules["ledger"] = ledger
spec.loader.exec_module(ledger)

module.BATCH_MAX = 10


async def relay(folder: Path) -> None:
    bank, books = (SqliteDatabase(name, folder / f"{name}.sqlite") for name in ("bank", "books"))
    carrying = module.Relay(bank, books, ledger.Books().consumer, Wakeups(), SystemClock())
    while await carrying.step():
        pass
    for database in (bank, books):
        await database.close()


asyncio.run(relay(Path(sys.argv[1])))
