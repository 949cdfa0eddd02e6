"""What an audit found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from doorbuster.contracts.audit import Check


class AuditReport(Struct, frozen=True):
    """`ok` unless something is broken; "in flight" means: not yet decided, nothing wrong seen."""

    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "checks": [
                {
                    "name": check.name,
                    "ok": check.ok,
                    "verdict": check.verdict,
                    "detail": check.detail,
                    "breaches": list(check.breaches),
                }
                for check in self.checks
            ],
        }
