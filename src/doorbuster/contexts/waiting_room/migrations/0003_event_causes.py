"""Events say which request they happened for."""

from doorbuster.platform.bus.tables import add_causes

revision = "0003_event_causes"


def upgrade() -> None:
    add_causes()
