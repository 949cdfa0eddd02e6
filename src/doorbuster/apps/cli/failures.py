"""Which errors are the user's to read, and how they are said."""

from __future__ import annotations

from doorbuster.kernel.errors import ShopError

USAGE = 2
FAILED = 1


def explain(error: Exception) -> tuple[str, int] | None:
    """(words, exit status) of an expected error; None for a bug, whose trace is to be seen."""
    from doorbuster.apps.serve import FolderInUse
    from doorbuster.apps.shop import NotMigrated
    from doorbuster.lab.demo.shop_process import ShopFailed
    from doorbuster.lab.postgres_server import NoPostgres
    from doorbuster.lab.redis_server import NoRedis
    from doorbuster.lab.stampede.errors import StampedeError
    from doorbuster.platform.settings.tree import WrongSetting
    from doorbuster.platform.sql.migrations import NewerSchema
    from doorbuster.platform.sql.open import NotDurable
    from doorbuster.platform.sql.workers import NoWorkerNumber

    if isinstance(error, WrongSetting):
        return f"wrong setting: {error}", USAGE
    if isinstance(error, ShopError):
        return f"{error.slug}: {error.detail}", FAILED
    of_the_shop = (FolderInUse, NotMigrated, NewerSchema, NotDurable, NoWorkerNumber)
    of_the_lab = (NoPostgres, NoRedis, ShopFailed, StampedeError)
    if isinstance(error, (*of_the_shop, *of_the_lab, OSError)):
        return str(error), FAILED
    return None
