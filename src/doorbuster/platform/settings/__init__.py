"""Bootstrap settings: one typed tree from a file and the environment."""
