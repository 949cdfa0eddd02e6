"""The whole instrument in one call: look at the sale, charge, verify, report."""

from __future__ import annotations

from collections.abc import Sequence

from .buyers import Buyer
from .errors import BadPlanError
from .http_client import Pool
from .lanes import LaneLimits
from .ledger import Ledger
from .plan import Plan
from .report import Report, report_of
from .rush import OnProgress, rush
from .verify import read_sale, verify


async def run(
    plan: Plan,
    buyers: Sequence[Buyer],
    on_progress: OnProgress | None = None,
    *,
    ledger: Ledger | None = None,
    run_id: str | None = None,
) -> Report:
    """Runs a stampede and returns its report. A ledger passed in can be verified again later.

    Raises `UnreachableError` or `SaleUnreadableError` before the first click: no such server, no such sale.
    """
    if not buyers:
        raise BadPlanError("arrivals", "there is no buyer")
    book = Ledger() if ledger is None else ledger
    async with Pool(plan.base_url, LaneLimits(connections=1, timeout_s=plan.timeout_s)) as pool:
        await pool.connect()
        await read_sale(pool, plan.sale_id, buyers[0])
    load = await rush(plan, buyers, book, on_progress, run_id=run_id)
    return report_of(load, await verify(plan, book))
