"""stampede: an open-loop HTTP load generator that keeps its own books and gives a verdict.

    report = await run(plan, load_buyers("buyers.jsonl"), on_progress=show)

or, with latecomers in between, the same in steps:

    ledger = Ledger()
    load = await rush(plan, buyers, ledger)
    late = await latecomers(plan, ledger.empty_handed(), window_s=30, ledger=ledger)
    report = report_of(load, await verify(plan, ledger))
"""

from .buyers import Buyer, load_buyers
from .errors import (
    BadBuyersError,
    BadPlanError,
    BadRequestError,
    BadUrlError,
    Failure,
    GeneratorFaultError,
    NoAnswerError,
    SaleUnreadableError,
    StampedeError,
    UnreachableError,
)
from .http_client import Pool, Response
from .judge import Verification
from .lanes import LaneLimits
from .latecomers import Latecomers, latecomers
from .ledger import Ack, Doubt, Ledger
from .plan import Plan
from .report import Report, report_of
from .run import run
from .rush import OnProgress, rush
from .tally import Progress, Rush
from .verify import verify

__all__ = [
    "Ack",
    "BadBuyersError",
    "BadPlanError",
    "BadRequestError",
    "BadUrlError",
    "Buyer",
    "Doubt",
    "Failure",
    "GeneratorFaultError",
    "LaneLimits",
    "Latecomers",
    "Ledger",
    "NoAnswerError",
    "OnProgress",
    "Plan",
    "Pool",
    "Progress",
    "Report",
    "Response",
    "Rush",
    "SaleUnreadableError",
    "StampedeError",
    "UnreachableError",
    "Verification",
    "latecomers",
    "load_buyers",
    "report_of",
    "run",
    "rush",
    "verify",
]
