"""Figures of an ablation: a forest plot of effects; learning curves, confusion matrices and precision-recall curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from plotly.subplots import make_subplots
from sklearn.metrics import average_precision_score, precision_recall_curve

from search.report.facts import StageFacts
from search.report.figures.style import BLUE, GREY, SERIES, Plot, blank
from search.report.metric import Metric, percent
from search.verdict.ablation_result import AblationResult, CellResult, MeanScores, mean_scores
from search.verdict.factorial import Effect
from studies.ablation import WITH, WITHOUT, describe_level

ROW_PX = 30
MANY_CLASSES = 12
"""Number of classes from which the small confusion matrices have no room for their counts."""
FEW_CLASSES, MOST_COLUMNS, FEWEST_COLUMNS = 5, 4, 2
"""Up to `FEW_CLASSES` classes, a row holds four confusion matrices; above, it holds two."""
RECALLS = np.linspace(0, 1, 101)
_DASHES = ("solid", "dash", "dot")


def forest(effects: Sequence[Effect], metric: Metric) -> Plot:
    """Each effect with its interval; clear effects are coloured."""
    scale, unit = (100, ", points") if metric.is_share else (1, "")
    figure = blank(showlegend=False, xaxis_title=f"difference in {metric.label}{unit}")
    for effect in effects:
        low, high = effect.contrast.interval or (effect.contrast.estimate,) * 2
        value = scale * effect.contrast.estimate
        figure.add_scatter(
            x=[value], y=[describe_effect(effect)], mode="markers",
            marker={"color": BLUE if effect.is_clear else GREY, "size": 10},
            error_x={
                "type": "data", "array": [scale * high - value], "arrayminus": [value - scale * low],
                "thickness": 2, "width": 5,
            },
            hovertemplate="%{y}<br>%{x:+.2f}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_yaxes(autorange="reversed")
    return Plot(
        title="Effects",
        caption=(
            "The main effect of each factor, averaged over the levels of the other factors. Rows with an x show "
            "interactions: the change of one factor's effect between levels of the other. Bars: 95 % intervals, not "
            "corrected for multiple comparisons. Coloured effects are significant after Holm's correction."
        ),
        figure=figure,
        height_px=90 + ROW_PX * len(effects),
    )


def describe_effect(effect: Effect) -> str:
    """The name of an effect: `batch norm instead of none`, `kernel 5 instead of 3`, or `batch norm x kernel 5`."""
    described = " x ".join(map(describe_level, effect.factors, effect.levels))
    if len(effect.factors) > 1:
        return described
    (factor,), (reference,) = effect.factors, effect.reference
    other = {WITHOUT: "none", WITH: factor}.get(reference, reference)
    return f"{described} instead of {other}"


def curves(result: AblationResult, stage: StageFacts, column: str, label: str, tick_format: str) -> Plot | None:
    """A metric against the epoch, with a line for each cell: the mean over its seeds. None before the first epoch."""
    if stage.epochs.empty:
        return None
    figure = blank(xaxis_title="epoch", yaxis_title=label, yaxis_tickformat=tick_format)
    styles = cycle((color, dash) for dash in _DASHES for color in SERIES)
    for cell, (color, dash) in zip(result.cells, styles, strict=False):
        own = stage.epochs[stage.epochs["trial"].isin(list(cell.runs.trials.values()))]
        by_epoch = own.groupby("epoch")[column].mean().round(5)
        figure.add_scatter(
            x=by_epoch.index.tolist(), y=by_epoch.tolist(), mode="lines", name=cell.name,
            line={"color": color, "dash": dash, "width": 2},
            hovertemplate=f"%{{fullData.name}}<br>epoch %{{x}}: %{{y:{tick_format}}}<extra></extra>",
        )  # fmt: skip
    return Plot(
        title=f"{label[0].upper()}{label[1:]} against epoch",
        caption="A line for each cell: the mean over its seeds. Click a name to hide its line.",
        figure=figure,
        height_px=400,
    )


def confusions(result: AblationResult) -> Plot | None:
    """A confusion matrix for each cell, added up over its runs; None without any run's predictions."""
    shown = [(cell, scores) for cell in result.cells if (scores := mean_scores(cell.answers, result.classes))]
    if not shown or not shown[0][1].confusion:  # Too many classes for a matrix.
        return None
    columns = min(MOST_COLUMNS if len(result.classes) <= FEW_CLASSES else FEWEST_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=[cell.name.replace(", ", ",<br>") for cell, _ in shown],
        horizontal_spacing=0.04, vertical_spacing=0.2 / rows,
    )  # fmt: skip
    figure.update_layout(blank(coloraxis={"cmin": 0, "cmax": 1, "showscale": False}).layout)
    figure.update_layout(margin_t=60)
    figure.update_annotations(font_size=12)
    for index, (_, scores) in enumerate(shown):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        _add_confusion(figure, scores, result.classes, place)
        are_named = len(result.classes) < MANY_CLASSES
        figure.update_xaxes(showticklabels=are_named and index + columns >= len(shown), **place)
        figure.update_yaxes(showticklabels=are_named and index % columns == 0, **place)
    width_px, height_px = 1000 // columns, 230 + 12 * min(MANY_CLASSES, len(result.classes))
    return Plot(
        title="Confusion matrix of each cell",
        caption=(
            "Validation images by true class (rows) and predicted class (columns), added up over the runs of a cell; "
            "the colour is the share of the row."
        ),
        figure=figure,
        height_px=100 + height_px * rows,
        min_width_px=min(width_px, 400) * columns,
    )


def _add_confusion(figure: Any, scores: MeanScores, classes: Sequence[str], place: Mapping[str, int]) -> None:
    counts = pd.DataFrame(scores.confusion)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0).round(4)
    figure.add_heatmap(
        z=shares.values.tolist(), x=classes, y=classes, coloraxis="coloraxis", xgap=1, ygap=1,
        text=counts.values.tolist(), texttemplate="%{text}" if len(classes) < MANY_CLASSES else None,
        hovertemplate="true %{y}, predicted %{x}<br>%{text} images, %{z:.1%} of the class<extra></extra>", **place,
    )  # fmt: skip
    figure.update_xaxes(type="category", **place)
    figure.update_yaxes(type="category", autorange="reversed", **place)


def precision_recall(result: AblationResult, rare: str) -> Plot | None:
    """Precision against recall of one class, with a line for each cell; None without any run's predictions."""
    figure = blank(
        xaxis_title=f"recall of {rare}", yaxis_title=f"precision of {rare}",
        xaxis_tickformat=".0%", yaxis_tickformat=".0%",
    )  # fmt: skip
    styles = cycle((color, dash) for dash in _DASHES for color in SERIES)
    drawn = [cell for cell in result.cells if cell.answers]
    for cell, (color, dash) in zip(drawn, styles, strict=False):
        precision, area = _mean_precision(cell, result.classes.index(rare))
        figure.add_scatter(
            x=RECALLS.tolist(), y=precision.round(4).tolist(), mode="lines",
            name=f"{cell.name}: {percent(area)}", line={"color": color, "dash": dash, "width": 2},
            hovertemplate="%{fullData.name}<br>recall %{x:.0%}: precision %{y:.1%}<extra></extra>",
        )  # fmt: skip
    if not drawn:
        return None
    return Plot(
        title=f"Precision and recall of {rare}",
        caption=(
            "Precision and recall, on validation images, of the class with the fewest training images for all "
            "thresholds on its probability. Each line shows the best precision at or above each recall, mean over "
            "the cell's runs. The percentage after a name is the average precision, mean over the runs."
        ),
        figure=figure,
        height_px=400,
    )


def _mean_precision(cell: CellResult, label: int) -> tuple[npt.NDArray[np.float64], float]:
    curves, areas = [], []
    for answers in cell.answers:
        truth_M, score_M = answers.labels_M == label, answers.probabilities_MC[:, label]
        precision, recall, _ = precision_recall_curve(truth_M, score_M)
        curves.append([precision[recall >= at].max() for at in RECALLS])
        areas.append(average_precision_score(truth_M, score_M))
    return np.mean(curves, axis=0), float(np.mean(areas))
