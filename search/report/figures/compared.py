"""Figures of studies side by side: champions with their intervals, and the best value against the cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from search.report.compared import course
from search.report.facts import StudyFacts
from search.report.figures.outcome import within_bounds
from search.report.figures.style import BLUE, ORANGE, SERIES, Plot, blank
from search.report.metric import Metric

ROW_PX = 52
_DASHES = ("solid", "dash", "dot")


def champions(studies: Sequence[StudyFacts], metric: Metric) -> Plot | None:
    """Each champion's mean and test accuracy with their intervals; None before the first champion."""
    figure = blank(xaxis_tickformat=metric.axis_format, xaxis_title=metric.label.removeprefix("validation "))
    rows = [(facts, facts.finalists[0]) for facts in studies if facts.finalists]
    if not rows:
        return None
    ends = [within_bounds(best.interval or (best.mean, best.mean), metric) for _, best in rows]
    figure.add_scatter(
        x=[best.mean for _, best in rows], y=[facts.record.name for facts, _ in rows], mode="markers",
        name="validation, mean over fresh seeds", marker={"color": BLUE, "size": 10},
        error_x={
            "type": "data", "array": [high - best.mean for (_, best), (_, high) in zip(rows, ends, strict=True)],
            "arrayminus": [best.mean - low for (_, best), (low, _) in zip(rows, ends, strict=True)],
            "thickness": 2, "width": 6,
        },
        hovertemplate=f"%{{y}}<br>%{{x:{metric.axis_format}}}<extra></extra>",
    )  # fmt: skip
    tests = [(facts.record.name, facts.test) for facts in studies if facts.test]
    if tests and metric.name == "val_accuracy":
        figure.add_scatter(
            x=[test.accuracy for _, test in tests], y=[name for name, _ in tests], mode="markers", name="test accuracy",
            marker={"color": ORANGE, "symbol": "diamond", "size": 10},
            error_x={
                "type": "data", "array": [test.interval[1] - test.accuracy for _, test in tests],
                "arrayminus": [test.accuracy - test.interval[0] for _, test in tests], "thickness": 2, "width": 6,
            },
            hovertemplate=f"%{{y}}, test<br>%{{x:{metric.axis_format}}}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed")
    return Plot(
        title="Each champion with its 95 % interval",
        caption=(
            "Bars: 95 % intervals, of the mean over seeds (Student's t) and of the test accuracy over images (Wilson). "
            "Whether two champions differ is in the table of differences: overlapping intervals do not answer it."
        ),
        figure=figure,
        height_px=110 + ROW_PX * len(rows),
    )


def best_against_cost(studies: Sequence[StudyFacts], metric: Metric, column: str) -> Plot:
    """The best value so far of each study against `worker_s` or `epochs`, a line for each."""
    courses = [course(facts) for facts in studies]
    longest = max((float(one[column].max()) for one in courses if not one.empty), default=0.0)
    unit, scale = ("epochs", 1.0)
    if column == "worker_s":
        unit, scale = ("seconds", 1.0) if longest < 120 else ("minutes", 60.0) if longest < 7200 else ("hours", 3600.0)
    title = "worker time" if column == "worker_s" else "epochs trained"
    figure = blank(
        xaxis_title=f"{title} in {unit}" if column == "worker_s" else title,
        yaxis_title=metric.label, yaxis_tickformat=metric.axis_format,
    )  # fmt: skip
    styles = cycle((color, dash) for dash in _DASHES for color in SERIES)
    for facts, one, (color, dash) in zip(studies, courses, styles, strict=False):
        known = one[one["best"].notna()]
        figure.add_scatter(
            x=(known[column] / scale).tolist(), y=known["best"].tolist(), mode="lines", name=facts.record.name,
            line={"color": color, "dash": dash, "width": 2, "shape": "hv"},
            hovertemplate=f"{facts.record.name}<br>%{{x:.3g}} {unit}: %{{y:{metric.axis_format}}}<extra></extra>",
        )  # fmt: skip
    trials = " or ".join(dict.fromkeys(facts.metric.trial_value for facts in studies))
    return Plot(
        title=f"Best value against {title}",
        caption=(
            f"The best {metric.label} of a complete trial so far, {trials}, against the {title} of all trials that "
            "had ended by then. The confirmation is left out. The best of many runs tends to be lucky, and trials of "
            "more epochs reach more: this figure shows how fast a search went, not which champion is better."
        ),
        figure=figure,
        height_px=380,
    )
