"""How delivery is reached over HTTP: by people, and live."""
