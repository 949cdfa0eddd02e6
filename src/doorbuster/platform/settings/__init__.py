"""Bootstrap settings: one typed tree from a file and the environment. Runtime settings: groups that change while the
shop runs."""
