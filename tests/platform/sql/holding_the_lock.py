"""A process of its own that holds the write lock of an SQLite file: `python holding_the_lock.py FILE HOW`.

It says "held" on standard output, then waits for a line on standard input. HOW: "commit" or "die" (SIGKILL before
the commit). Either way it has inserted a counter called "theirs".
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys

file, how = sys.argv[1:]
connection = sqlite3.connect(file, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO counters (name, value) VALUES ('theirs', 0)")
print("held", flush=True)
sys.stdin.readline()
if how == "die":
    os.kill(os.getpid(), signal.SIGKILL)
connection.execute("COMMIT")
