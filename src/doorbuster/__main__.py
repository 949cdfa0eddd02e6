"""`python -m doorbuster`."""

from doorbuster.apps.cli import main

main()
