"""The command line. Commands import what they need when they run, so that `--help` is quick."""

from doorbuster.apps.cli.main import main

__all__ = ["main"]
