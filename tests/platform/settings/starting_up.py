"""A process of its own that needs secrets: `python starting_up.py FOLDER`.

It says "ready", waits for a line on standard input, and tells them.
"""

from __future__ import annotations

import sys

from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import Settings

print("ready", flush=True)
sys.stdin.readline()
secrets = load_secrets(Settings(data=sys.argv[1]))
print(secrets.token_keys, secrets.webhook_secrets, flush=True)
