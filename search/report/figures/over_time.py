"""The course of a search: values in the order in which trials were created, and every trial's learning curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from search import names
from search.report.facts import StageFacts
from search.report.figures.style import BEST, CLEAR, GREY, STATES, Plot, blank
from search.report.metric import Metric, plural

FEW_EPOCHS = 10
"""Largest number of epochs that get a tick each; plotly would place ticks between epochs."""
FEW_CURVES = 30
"""Largest number of curves that are drawn opaque."""
MOST_CURVES = 200
"""Largest number of curves that are drawn at all; of more, the best ones and a random sample."""
BEST_CURVES = 20
"""Number of complete trials with the best values that are always drawn."""
MANY_MARKS = 500
"""Number of trials from which marks are small and translucent."""


def creation_order(stages: Sequence[StageFacts], metric: Metric) -> Plot:
    """Every trial's value in creation order, the best so far in each stage and, with several stages, over all."""
    figure = blank(
        xaxis_title="trial, in creation order", yaxis_title=metric.label, yaxis_tickformat=metric.axis_format
    )
    rows = _in_order(stages)
    size, opacity = (7, 1.0) if len(rows) < MANY_MARKS else (4, 0.5)
    for state, (color, symbol) in STATES.items():
        part = rows[(rows["state"] == state) & rows["value"].notna()]
        if not part.empty:
            figure.add_scatter(
                x=part["order"].tolist(), y=part["value"].tolist(), mode="markers", name=state,
                marker={"color": color, "symbol": symbol, "size": size, "opacity": opacity},
                text=part["label"].tolist(),
                hovertemplate=f"%{{text}}, {state}<br>%{{y:{metric.axis_format}}}<extra></extra>",
            )  # fmt: skip
    for index, (_, part) in enumerate(rows.groupby("position")):
        _add_best_line(
            figure, part, metric, name="best of the stage so far", color=BEST, dash="solid", first=index == 0
        )
        if index:
            figure.add_vline(x=part["order"].min() - 0.5, line={"color": GREY, "width": 1, "dash": "dot"})
        if len(stages) > 1:
            figure.add_annotation(
                x=part["order"].min() - 0.5, y=0, yref="paper", yanchor="bottom", xanchor="left", showarrow=False,
                text=f"{part['stage'].iloc[0]}",
                yshift=13 * ((len(stages) - 1 - index) % 3),  # Names of short stages would run into each other.
            )  # fmt: skip
    if len(stages) > 1:
        _add_best_line(figure, rows, metric, name="best of the search so far", color=GREY, dash="dash", first=True)
    without = int(rows["value"].isna().sum())
    missing = f" Not shown: {plural(without, 'trial')} without a finished epoch." if without else ""
    return Plot(
        title="Accuracy against creation order" if metric.name == "val_accuracy" else "Value against creation order",
        caption=(
            f"Each mark shows a trial's best {metric.label} over its epochs. Pruned trials ran fewer epochs. "
            f"The line follows complete trials only.{missing}"
        ),
        figure=figure,
        height_px=380,
    )


def epoch_curves(stages: Sequence[StageFacts], metric: Metric) -> Plot | None:
    """The metric against the epoch for all trials, coloured by state; None before the first epoch."""
    figure = blank(xaxis_title="epoch", yaxis_title=metric.label, yaxis_tickformat=metric.axis_format)
    curves = pd.concat([_curves(stage, metric) for stage in stages], ignore_index=True)
    if curves.empty:
        return None
    if curves["epoch"].max() == 1:
        return _strip(curves, metric)
    if curves["epoch"].max() <= FEW_EPOCHS:
        figure.update_xaxes(dtick=1)
    all_count = curves["label"].nunique()
    curves = _fewer(curves, metric)
    count = curves["label"].nunique()
    for state in [state for state in reversed(STATES) if (curves["state"] == state).any()]:
        part = curves[curves["state"] == state]
        figure.add_scatter(
            **_with_gaps(part, metric.name), mode="lines+markers", name=state,
            line={"color": STATES[state][0], "width": 1.2},
            marker={"size": 5 if state in ("pruned", "out of time") else 2},
            opacity=1.0 if count <= FEW_CURVES else 0.55,
            hovertemplate=f"%{{text}}, {state}<br>epoch %{{x}}: %{{y:{metric.axis_format}}}<extra></extra>",
        )  # fmt: skip
    best = _best_label(stages, metric)
    if best is not None:
        figure.add_scatter(
            **_with_gaps(curves[curves["label"] == best], metric.name), mode="lines+markers", name=f"best: {best}",
            line={"color": BEST, "width": 2.5}, marker={"size": 5},
            hovertemplate=f"%{{text}}<br>epoch %{{x}}: %{{y:{metric.axis_format}}}<extra></extra>",
        )  # fmt: skip
    return Plot(
        title="Accuracy against epoch" if metric.name == "val_accuracy" else "Value against epoch",
        caption=(
            f"{_curves_shown(count, all_count)} A grey curve ends where the pruner stopped the trial. Compare curves "
            f"with different learning-rate schedules only at their ends.{_patience(stages)}"
        ),
        figure=figure,
        height_px=380,
    )


def _curves_shown(count: int, all_count: int) -> str:
    if count == all_count:
        return f"{plural(count, 'learning curve')}, one for each trial."
    return (
        f"{count} of {all_count:,} learning curves: the {BEST_CURVES} best complete trials and a random sample of the "
        "others."
    )


def _fewer(curves: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """All curves, or of more than `MOST_CURVES` the best complete ones and a random sample that never changes."""
    ends = curves.groupby("label", sort=False).agg(value=(metric.name, "max" if metric.maximize else "min"))
    if len(ends) <= MOST_CURVES:
        return curves
    complete = curves.loc[curves["state"] == "complete", "label"].unique()
    best = ends.loc[complete, "value"].sort_values(ascending=not metric.maximize).index[:BEST_CURVES]
    others = ends.drop(best).sample(MOST_CURVES - len(best), random_state=0).index
    return curves[curves["label"].isin([*best, *others])]


def _strip(curves: pd.DataFrame, metric: Metric) -> Plot:
    """The values of trials of one epoch, which have no curve: a point for each, apart by state."""
    figure = blank(xaxis_title=metric.label, xaxis_tickformat=metric.axis_format, showlegend=False)
    states = [state for state in STATES if (curves["state"] == state).any()]
    for state in states:
        part = curves[curves["state"] == state]
        figure.add_box(
            x=part[metric.name].round(5).tolist(), name=state, boxpoints="all", pointpos=0, jitter=0.7,
            fillcolor=CLEAR, line={"color": CLEAR}, text=part["label"].tolist(),
            marker={"color": STATES[state][0], "symbol": STATES[state][1], "size": 7, "opacity": 0.8},
            hovertemplate=f"%{{text}}, {state}<br>%{{x:{metric.axis_format}}}<extra></extra>",
        )  # fmt: skip
    count = curves["label"].nunique()
    return Plot(
        title="Accuracy after the only epoch" if metric.name == "val_accuracy" else "Value after the only epoch",
        caption=(
            f"A point for each of {plural(count, 'trial')}. Trials ran for a single epoch, so there are no learning "
            "curves, and the pruner had nothing to compare."
        ),
        figure=figure,
        height_px=110 + 70 * len(states),
    )


def _patience(stages: Sequence[StageFacts]) -> str:
    """The reason why a complete trial's curve may end before its last epoch, if there is one."""
    configs = [trial.user_attrs.get(names.CONFIG, {}) for stage in stages for trial in stage.optuna_trials]
    has_patience = any(config.get("patience", 0) for config in configs)
    return (
        " A trial that does not improve for `patience` epochs ends early and counts as complete."
        if has_patience
        else ""
    )


def _in_order(stages: Sequence[StageFacts]) -> pd.DataFrame:
    frames = [
        stage.trials.reset_index(names="trial").assign(stage=stage.name, position=stage.record.position)
        for stage in stages
    ]
    rows = pd.concat(frames, ignore_index=True)
    rows["order"] = range(len(rows))  # In the first stage, the order equals the trial number.
    rows["label"] = _labels(rows)
    return rows


def _labels(rows: pd.DataFrame) -> pd.Series:
    return rows["stage"] + " #" + rows["trial"].astype(str)


def _add_best_line(
    figure: go.Figure, rows: pd.DataFrame, metric: Metric, *, name: str, color: str, dash: str, first: bool
) -> None:
    values = rows["value"].where(rows["state"] == "complete")
    best = (values.cummax() if metric.maximize else values.cummin()).ffill()
    figure.add_scatter(
        x=rows["order"].tolist(), y=[None if pd.isna(value) else value for value in best], mode="lines", name=name,
        legendgroup=name, showlegend=first, line={"color": color, "width": 2, "shape": "hv", "dash": dash},
        hovertemplate=f"{name}<br>%{{y:{metric.axis_format}}}<extra></extra>",
    )  # fmt: skip


def _curves(stage: StageFacts, metric: Metric) -> pd.DataFrame:
    if stage.epochs.empty:
        return pd.DataFrame({"label": [], "state": []})
    rows = stage.epochs[["trial", "epoch", metric.name]].assign(stage=stage.name)
    return rows.assign(state=rows["trial"].map(stage.trials["state"]), label=_labels(rows))


def _with_gaps(rows: pd.DataFrame, column: str) -> dict[str, list[object] | npt.NDArray[np.float64]]:
    """Many curves as one trace, separated by missing points."""
    xs: list[object] = []
    ys: list[object] = []
    labels: list[object] = []
    for label, curve in rows.groupby("label", sort=False):
        xs += [*curve["epoch"].tolist(), None]
        ys += [*curve[column].round(5).tolist(), None]
        labels += [label] * (len(curve) + 1)
    return {"x": xs, "y": ys, "text": labels}


def _best_label(stages: Sequence[StageFacts], metric: Metric) -> str | None:
    found = [(stage.snapshot.best, f"{stage.name} #{stage.snapshot.best_trial}") for stage in stages]
    known = [(value, label) for value, label in found if value is not None]
    if not known:
        return None
    return (max if metric.maximize else min)(known)[1]
