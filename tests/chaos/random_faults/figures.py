"""The figures of a run over many seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.chaos.random_faults.findings import Findings
from tests.chaos.random_faults.plan import Outcome


def figures(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Counts of faults, processes and `Findings`, and the time that they took. Seeds that are not well are named."""
    faults = Counter(kind for outcome in outcomes for kind in outcome.fallen)
    total = Findings()
    for outcome in outcomes:
        total.add(outcome.findings)
    return {
        "seeds": len(outcomes),
        "wrong_seeds": sorted(outcome.seed for outcome in outcomes if not outcome.findings.is_well),
        "faults": sum(faults.values()),
        "faults_by_kind": dict(faults.most_common()),
        "starts": sum(outcome.starts for outcome in outcomes),
        "processes_killed": sum(outcome.killed for outcome in outcomes),
        **asdict(total),
        "wall_s": round(seconds, 1),
        "cpu_s_per_seed": round(sum(outcome.cpu_s for outcome in outcomes) / max(1, len(outcomes)), 1),
    }
