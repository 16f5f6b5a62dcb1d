"""The tables of docs/benchmarks.md that show gpu.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
Rows = list[tuple[str, ...]]


def gpu_sections(result: Result) -> list[tuple[Sequence[str], Rows]]:
    """Return columns and rows of the table of each part that was measured."""
    sections = [
        (("network", "steps", "images/s", "with validation", "device busy", "kernels per step", "batches alone"),
         _networks(result)),
        (("trials at once", "images/s over all of them"), _gangs(result)),
        (("limit", "bytes per image", "copied bytes/s", "images/s", "reached"), _limits(result)),
        (("short run", "times A", "times A+", "gate", "difference from A, points (pairs)"), _contenders(result)),
        (("validation accuracy", "seconds of training"), _accuracy(result)),
    ]  # fmt: skip
    return [(columns, rows) for columns, rows in sections if rows]


def _networks(result: Result) -> Rows:
    return [
        (
            network["title"],
            way if figures["ran"] == way else f"{way}: ran {figures['ran']}",
            f"{figures['images_per_s']:,.0f}",
            f"{figures['images_per_s_with_validation']:,.0f}",
            f"{figures['busy']:.0%}" if "busy" in figures else "",
            f"{figures['kernels_per_step']:,.0f}" if "kernels_per_step" in figures else "",
            f"{network['batches_alone']:,.0f}",
        )
        for network in result.get("networks", {}).values()
        for way, figures in network.get("ways", {}).items()
    ]


def _gangs(result: Result) -> Rows:
    return [(size, f"{rate:,.0f}") for size, rate in result.get("gangs", {}).items()]


def _limits(result: Result) -> Rows:
    return [
        (
            name,
            f"{limit['bytes_per_image']:,.0f}",
            f"{limit['bandwidth_bytes_per_s']:,.0f}",
            f"{limit['images_per_s']:,.0f}",
            f"{limit['share']:.0%}" if "share" in limit else "",
        )
        for name, limit in result.get("memory_limit", {}).items()
    ]


def _contenders(result: Result) -> Rows:
    rows = []
    for name, ratios in result.get("ratio", {}).items():
        workload = result["workloads"][name]
        difference = workload["val_accuracy_difference"]["ours"]
        rows.append(
            (
                f"{name}: {workload['title']}",
                *(f"{ratios[other]:.1f}" if other in ratios else "" for other in ("A", "A+")),
                "passed" if result["gate"][name] else "not passed",
                f"{100 * difference['mean']:+.1f} ({difference['pairs']})",
            )
        )
    return rows


def _accuracy(result: Result) -> Rows:
    measured = result.get("time_to_accuracy")
    if not measured:
        return []
    reached = [
        (f"{float(target):.0%}", f"{seconds:.1f}" if seconds else "not reached")
        for target, seconds in measured["seconds"].items()
    ]
    end = f"{measured['val_accuracy']:.2%} after {measured['trained_epochs']} of {measured['epochs']} epochs"
    return [*reached, (end, f"{measured['training_s']:.1f}")]
