"""The table of `doorbuster bench overload`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doorbuster.lab.bench.table import circumstances


def overload_table(found: Mapping[str, Any]) -> str:
    lines = [
        f"An ordinary shop on SQLite, {'with' if found['shedding'] else 'without'} shedding, the server "
        f"{'on a core of its own' if found['pinned'] else 'on the same cores as the generator'}: capacity "
        f"{found['capacity_per_s']:.0f} requests/s of {found['request_us']:.0f} us each",
        f"  {'load':>6} {'sent/s':>8} {'in time/s':>10} {'work':>6} {'refused':>8} {'late':>6} {'p50 ms':>8} "
        f"{'p99 ms':>8} {'refusal ms':>11} {'server':>7} {'generator':>10} {'load avg':>9}",
    ]
    lines += [
        f"  {load:>6} {of['sent_per_s']:8.0f} {of['goodput_per_s']:10.0f} {of['work']:6.2f} {of['refused']:8d} "
        f"{of['late']:6d} {of['p50_ms']:8.1f} {of['p99_ms']:8.1f} {of['refusal_p50_ms']:11.2f} "
        f"{of['server_cores']:7.2f} {of['generator_cores']:10.2f} {of['load_average']:9.2f}"
        for load, of in found["phases"].items()
    ]
    lines += [
        f"  at 10x ({found['offered_10x']:.1f}x was sent): goodput {found['goodput_ratio_10x']:.0%} of peak, work "
        f"{found['work_ratio_10x']:.0%}, p99 {found['p99_ratio_10x']:.1f} times unloaded; well again after "
        f"{found['recovery_s']:.1f} s",
        f"  a refusal costs {found['refusal_us']:.0f} us, {found['refusal_share']:.1%} of a request: what is left of a "
        f"core at 10x is {found['bound_10x']:.0%} at best",
        "",
        *circumstances(found),
    ]
    return "\n".join(lines)
