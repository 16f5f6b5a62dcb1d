"""Results of a study: stages compared, epochs saved by pruning, finalists, label distribution, test confusion
matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from search.report.facts import StudyFacts
from search.report.figures.style import BLUE, GREEN, GREY, ORANGE, STATES, Plot, blank
from search.report.metric import Metric, percent, plural
from search.report.observations import fold_of_each_seed, overlap_of_folds, planned_epochs
from search.report.spent import Pruning, StageTime
from search.store.look_result import LookResult
from search.store.study_data import StudyData

ROW_PX = 34
_OWN_ROWS = ("champion", "registered", "test")
"""Rows of the comparison that are no stages."""
MANY_CLASSES = 25
"""Number of classes above which a confusion matrix has no room for its counts."""
SHOWN_CLASSES = 100
"""Number of classes above which only those with the most mistakes are shown."""
MOST_CLASSES = 60
"""Number of classes above which figures do not show all of them, or not by name."""


def comparison(facts: StudyFacts) -> Plot | None:
    """Best single run of each stage, the champion's mean over seeds and the test accuracy; None before there are
    two of them.
    """
    metric = facts.metric
    rows: list[tuple[str, float, tuple[float, float] | None, str]] = [
        (f"stage {stage.name}" if stage.name in _OWN_ROWS else stage.name, stage.snapshot.best, None, GREY)
        for stage in facts.stages
        if stage.snapshot.best is not None
    ]
    if facts.finalists:
        champion = facts.finalists[0]
        rows.append(("champion", champion.mean, champion.interval, BLUE))
    if combination := facts.kept_combination:
        rows.append(("registered", combination.value, None, BLUE))
    if facts.test and metric.name == "val_accuracy":
        low, high = facts.test.interval
        rows.append(("test", facts.test.accuracy, (low, high), ORANGE))
    if len(rows) < 2:  # Nothing to compare with, and no scale.
        return None
    figure = blank(showlegend=False, xaxis_tickformat=metric.axis_format, xaxis_nticks=5)
    for name, value, interval, color in rows:
        low, high = within_bounds(interval or (value, value), metric)
        figure.add_scatter(
            x=[value], y=[name], mode="markers", marker={"color": color, "size": 11},
            error_x={"type": "data", "array": [high - value], "arrayminus": [value - low], "thickness": 2, "width": 6},
            hovertemplate=f"%{{y}}<br>{metric.show(value)}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed")
    if not facts.finalists:
        return Plot(
            title="The best run of each stage",
            caption=(
                f"{metric.heading} of each stage's {metric.best_label}. {_epochs_note(facts)}There is no champion yet."
            ),
            figure=figure,
            height_px=70 + ROW_PX * max(2, len(rows)),
        )
    return Plot(
        title="The champion compared with the best run of each stage",
        caption=(
            f"{metric.heading} of each stage's {metric.best_label} and of the champion (mean over fresh seeds), and "
            f"the test accuracy once the test set was opened. {_epochs_note(facts)}The best of many runs tends to be "
            f"lucky, so expect the champion's mean to be worse than the {metric.best_label} of the same length. "
            f"{_registered_note(facts)}Bars: 95 % intervals, of the mean over seeds (Student's t) and of the test "
            "accuracy over images (Wilson)."
        ),
        figure=figure,
        height_px=70 + ROW_PX * max(2, len(rows)),
    )


def _registered_note(facts: StudyFacts) -> str:
    """A sentence on the combination that is registered instead of the champion's best run."""
    combination = facts.kept_combination
    return f"Registered: {combination.name}. " if combination else ""


def _epochs_note(facts: StudyFacts) -> str:
    """The number of epochs behind each row, if they differ: longer training alone gives better values."""
    stages = facts.all_stages if facts.finalists else facts.stages
    counted = {stage.name: planned_epochs(stage) for stage in stages if not stage.trials.empty}
    if len(set(counted.values())) < 2:
        return ""
    listed = ", ".join(f"{name} {epochs}" for name, epochs in counted.items())
    return f"Longer training gives better values, and the rows differ in epochs ({listed}). "


def within_bounds(interval: tuple[float, float], metric: Metric) -> tuple[float, float]:
    """Cut the interval of a share to 0 to 1, which Student's t may exceed."""
    low, high = interval
    return (max(0.0, low), min(1.0, high)) if metric.is_share else interval


def funnel(facts: StudyFacts) -> Plot:
    """The trials of every stage by state, and the number of configurations passed on."""
    figure = blank(barmode="stack", xaxis_title="trials")
    stages = facts.all_stages
    for state, (color, _) in STATES.items():
        counts = [int((stage.trials["state"] == state).sum()) for stage in stages]
        if any(counts):
            figure.add_bar(
                y=[stage.name for stage in stages], x=counts, name=state, orientation="h", marker={"color": color},
                hovertemplate=f"%{{y}}: %{{x}} {state}<extra></extra>",
            )  # fmt: skip
    for row, (stage, following) in enumerate(pairwise(stages)):
        if stage.pinned.is_extended:
            continue  # Nothing is chosen: its paused trials go on beside those of the next stage.
        count, is_ablation = len(following.pinned.bases), bool(following.pinned.cells)
        carried = f"{1 if is_ablation else count} passed on"
        if following.pinned.is_final and not is_ablation:
            carried = plural(count, "finalist")
        _annotate_end(figure, row, len(stage.trials), f" {carried}")
    if facts.finalists:
        _annotate_end(figure, len(stages) - 1, len(stages[-1].trials), " 1 champion")
    longest = max((len(stage.trials) for stage in stages), default=1)
    figure.update_xaxes(range=[0, longest * 1.5])
    figure.update_yaxes(type="category", autorange="reversed")
    return Plot(
        title="From all trials to one champion",
        caption="Trials of each stage by state, and the number of configurations that the next stage started from.",
        figure=figure,
        height_px=120 + ROW_PX * len(stages),
    )


def _annotate_end(figure: Any, row: int, x: int, text: str) -> None:
    """Write after the bar of a row; by its number, because plotly takes a name such as "2" for one."""
    figure.add_annotation(x=x, y=row, text=text, showarrow=False, xanchor="left")


def pruning(stages: Sequence[Pruning]) -> Plot:
    """Epochs that ran and epochs that pruning saved in each stage."""
    figure = blank(barmode="stack", xaxis_title="epochs")
    bars = (
        ("complete trials", [stage.epochs_complete for stage in stages], BLUE, ""),
        ("pruned trials, before pruning", [stage.epochs_pruned for stage in stages], GREY, ""),
        ("saved by pruning", [stage.epochs_saved for stage in stages], GREEN, "/"),
    )
    for name, counts, color, shape in bars:
        figure.add_bar(
            y=[stage.stage for stage in stages], x=counts, name=name, orientation="h",
            marker={"color": color, "pattern": {"shape": shape}},
            hovertemplate=f"%{{y}}: %{{x}} epochs, {name}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed")
    return Plot(
        title="Epochs saved by pruning",
        caption=(
            "Epochs that were trained, and epochs that pruned trials would have run if each had run the same share of "
            "its epochs as complete trials do."
        ),
        figure=figure,
        height_px=120 + ROW_PX * len(stages),
    )


def components(times: Sequence[StageTime]) -> Plot:
    """Worker time of each stage by purpose."""
    longest_s = max(time.worker_s for time in times)
    unit, unit_s = ("seconds", 1) if longest_s < 120 else ("minutes", 60) if longest_s < 7200 else ("hours", 3600)
    figure = blank(barmode="stack", xaxis_title=f"worker time in {unit}")
    for name, color, seconds in (
        ("training", BLUE, [time.training_s for time in times]),
        ("validation", ORANGE, [time.validation_s for time in times]),
        ("everything else", GREY, [time.worker_s - time.training_s - time.validation_s for time in times]),
    ):
        figure.add_bar(
            y=[time.stage for time in times], x=[value / unit_s for value in seconds], name=name, orientation="h",
            marker={"color": color}, hovertemplate=f"%{{y}}: %{{x:.3g}} {unit} {name}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed")
    return Plot(
        title="Worker time by purpose",
        caption=(
            "Time of all trials, added up. Everything else: opening the data, building the network, waiting for the "
            "database, writing checkpoints."
        ),
        figure=figure,
        height_px=120 + ROW_PX * len(times),
    )


def finalists(facts: StudyFacts) -> Plot:
    """The runs of every finalist of a study that has some, with their mean and its interval."""
    assert facts.confirmation is not None
    stage, ranked, metric = facts.confirmation, facts.finalists, facts.metric
    figure = blank(xaxis_tickformat=metric.axis_format, xaxis_title=metric.label, xaxis_nticks=6)
    names = [f"finalist {finalist.index + 1}" for finalist in ranked]
    runs = [(name, seed, value) for name, f in zip(names, ranked, strict=True) for seed, value in f.values.items()]
    figure.add_scatter(
        x=[value for _, _, value in runs], y=[name for name, _, _ in runs], mode="markers", name="one seed",
        marker={"color": GREY, "size": 9, "symbol": "circle-open", "line": {"width": 2}},
        text=[seed for _, seed, _ in runs],
        hovertemplate=f"%{{y}}, seed %{{text}}<br>%{{x:{metric.axis_format}}}<extra></extra>",
    )  # fmt: skip
    ends = [within_bounds(f.interval or (f.mean, f.mean), metric) for f in ranked]
    above = [high - f.mean for f, (_, high) in zip(ranked, ends, strict=True)]
    below = [f.mean - low for f, (low, _) in zip(ranked, ends, strict=True)]
    figure.add_scatter(
        x=[f.mean for f in ranked], y=names, mode="markers", name="mean with 95 % interval",
        marker={"color": BLUE, "size": 10},
        error_x={"type": "data", "array": above, "arrayminus": below, "thickness": 2, "width": 6},
        hovertemplate=f"%{{y}}, mean<br>%{{x:{metric.axis_format}}}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed")
    return Plot(
        title="Finalists on fresh seeds",
        caption=(
            f"All finalists were trained on the same fresh seeds{fold_of_each_seed(stage)}, so their paired "
            "differences are compared. Two intervals (Student's t) can overlap even if the difference is clear, and "
            f"can be apart even if it is not.{overlap_of_folds(stage)}"
        ),
        figure=figure,
        height_px=120 + ROW_PX * len(ranked),
    )


def labels(data: StudyData, test: LookResult | None) -> Plot:
    """Images of each class in each split; the test set only after a look."""
    classes = data.classes
    figure = blank(barmode="group", yaxis_title="images")
    splits = {name: [counts[label] for label in classes] for name, counts in data.label_distribution.items()}
    if test:
        splits["test"] = [row.support for row in test.per_class]
    for (name, counts), color in zip(splits.items(), (BLUE, GREEN, ORANGE), strict=False):
        figure.add_bar(
            x=classes,
            y=counts,
            name=name,
            marker={"color": color},
            hovertemplate=f"%{{x}}: %{{y:,}} {name}<extra></extra>",
        )
    figure.update_xaxes(type="category", showticklabels=len(classes) <= MOST_CLASSES)
    if len(classes) > MOST_CLASSES:  # By size, because bars without names have no other meaning.
        figure.update_xaxes(categoryorder="total descending", title=f"{len(classes):,} classes, largest first")
        figure.update_layout(barmode="stack", bargap=0)
    return Plot(
        title="Label distribution",
        caption="Images of each class in each split." + ("" if test else " Those of the test set appear after a look."),
        figure=figure,
        height_px=260,
    )


def confusion(test: LookResult) -> Plot:
    """The confusion matrix of a look at the test set."""
    labels = test.most_confused(SHOWN_CLASSES)
    classes, counts = [test.classes[label] for label in labels], pd.DataFrame(test.confusion_of(labels))
    every = len(test.classes)
    part = (
        "" if len(classes) == every else f" The {len(classes)} of {every:,} classes with the most mistakes are shown."
    )
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    figure = blank(xaxis_title="predicted class", yaxis_title="true class")
    figure.add_heatmap(
        z=shares.values.tolist(), x=classes, y=classes, coloraxis="coloraxis", xgap=1, ygap=1,
        text=counts.values.tolist(),
        texttemplate="%{text}" if len(classes) <= MANY_CLASSES else None,
        hovertemplate="true %{y}, predicted %{x}<br>%{text} images, %{z:.1%} of the class<extra></extra>",
    )  # fmt: skip
    figure.update_layout(coloraxis={"cmin": 0, "cmax": 1, "showscale": False})
    figure.update_xaxes(type="category", side="top", constrain="domain")
    figure.update_yaxes(type="category", autorange="reversed", scaleanchor="x", constrain="domain")
    return Plot(
        title="Confusion matrix",
        caption=(
            f"Test images by true class (rows) and predicted class (columns); the colour is the share of the row. "
            f"Correct predictions are on the diagonal: {percent(test.accuracy)} of {test.images:,} images.{part}"
        ),
        figure=figure,
        height_px=max(320, min(900, 120 + 34 * len(classes))),
        min_width_px=min(1100, 140 + 34 * len(classes)),
    )
