"""The study's metric against the cost of the network, with the front of trials that no other beats in both."""

from __future__ import annotations

from search import names
from search.report.facts import StageFacts
from search.report.figures.style import BEST, STATES, Plot, blank
from search.report.metric import Metric
from search.stage.pareto import front

COSTS = {names.MACS: "multiply-accumulates per image", names.PARAMETERS: "parameters"}


def front_plot(stage: StageFacts, metric: Metric) -> Plot | None:
    """A mark for each complete trial and a line through the front; None for a single aim or without complete trials."""
    against = stage.pinned.against
    if against is None or stage.complete.empty:
        return None
    figure = blank(
        xaxis_title=COSTS[against], xaxis_type="log", yaxis_title=metric.label, yaxis_tickformat=metric.axis_format
    )
    complete = [stage.optuna_trials[number] for number in stage.complete.index]
    best = front(complete, against, maximize=metric.maximize)
    color, symbol = STATES["complete"]
    hover = f"%{{text}}<br>%{{y:{metric.axis_format}}} for %{{x:,}}<extra></extra>"
    figure.add_scatter(
        x=[trial.user_attrs[against] for trial in complete], y=[trial.value for trial in complete], mode="markers",
        name="complete", marker={"color": color, "symbol": symbol, "size": 7},
        text=[f"#{trial.number}" for trial in complete], hovertemplate=hover,
    )  # fmt: skip
    figure.add_scatter(
        x=[trial.user_attrs[against] for trial in best], y=[trial.value for trial in best], mode="lines+markers",
        name="Pareto front", line={"color": BEST, "shape": "vh"}, marker={"color": BEST, "size": 9},
        text=[f"#{trial.number}" for trial in best], hovertemplate=hover,
    )  # fmt: skip
    return Plot(
        title=f"{metric.heading} against {COSTS[against]}",
        caption=(
            f"Each mark is a complete trial, {metric.trial_value}. No trial is both better and cheaper than a trial on "
            f"the Pareto front, which has {len(best)} of {len(complete)} trials. The next stage starts from those with "
            f"the best {metric.label} on the front."
        ),
        figure=figure,
        height_px=380,
    )
