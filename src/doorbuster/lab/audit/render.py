"""An audit on a terminal, line by line."""

from __future__ import annotations

from doorbuster.lab.audit.report import AuditReport

_SIGN = {"holds": "✓", "broken": "✗", "in flight": "…"}


def render(report: AuditReport) -> str:
    """One line per check; what is broken is explained beneath."""
    width = max((len(check.name) for check in report.checks), default=0)
    lines: list[str] = []
    for check in report.checks:
        verdict = "" if check.verdict == "holds" else f"  [{check.verdict}]"
        lines.append(f"  {_SIGN[check.verdict]} {check.name:<{width}}  {check.detail}{verdict}")
        lines += [f"      {breach}" for breach in check.breaches]
    lines.append("everything holds" if report.ok else "SOMETHING IS BROKEN")
    return "\n".join(lines)
