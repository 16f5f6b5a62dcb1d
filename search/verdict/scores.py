"""Scores of predictions, and their output on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table
from rich.text import Text

from search.store.look_result import DENSE_CLASSES, ClassScores, LookResult, MeasureScore, Scores
from search.store.seal import describe_look
from search.terminal import open_console
from search.trials.validation_predictions import ValidationPredictions
from search.verdict.intervals import CONFIDENCE_LEVEL


def score(labels_N: npt.NDArray[np.int64], predictions_N: npt.NDArray[np.int64], classes: Sequence[str]) -> Scores:
    """Accuracy with its 95 % Wilson score interval, macro-F1, scores per class and the confusion matrix.

    A class without predictions or without images scores 0. Source of the interval: Wilson 1927, "Probable inference,
    the law of succession, and statistical inference".
    """
    from scipy.stats import binomtest
    from sklearn.metrics import precision_recall_fscore_support

    indices = range(len(classes))
    images, correct = len(labels_N), int((labels_N == predictions_N).sum())
    interval = binomtest(correct, images).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    by_class = precision_recall_fscore_support(labels_N, predictions_N, labels=indices, zero_division=0)
    rows = zip(classes, *(column.tolist() for column in by_class), strict=True)
    return Scores(
        accuracy=correct / images,
        interval=(float(interval.low), float(interval.high)),
        macro_f1=float(by_class[2].mean()),
        images=images,
        per_class=tuple(
            ClassScores(name=name, precision=precision, recall=recall, f1=f1, support=support)
            for name, precision, recall, f1, support in rows
        ),
        **_confusion(labels_N, predictions_N, len(classes)),
    )


def _confusion(labels_N: npt.NDArray[np.int64], predictions_N: npt.NDArray[np.int64], classes: int) -> dict[str, Any]:
    """The field of `Scores` that holds the confusion matrix, never as classes² numbers where there are many."""
    cells, counts = np.unique(labels_N * classes + predictions_N, return_counts=True)
    truths, answers = cells // classes, cells % classes
    if classes > DENSE_CLASSES:
        return {"cells": tuple(zip(truths.tolist(), answers.tolist(), counts.tolist(), strict=True))}
    counts_CC = np.zeros((classes, classes), dtype=np.int64)
    counts_CC[truths, answers] = counts
    return {"confusion": tuple(map(tuple, counts_CC.tolist()))}


def score_answers(answers: ValidationPredictions, classes: Sequence[str]) -> Scores:
    """Scores of a network's answers on validation images."""
    return score(answers.labels_M, answers.probabilities_MC.argmax(axis=1), classes)


def show(study: str, result: LookResult) -> None:
    """Print the result of a look at the test set on stdout."""
    low, high = result.interval
    console = open_console()
    console.print(Text.assemble((study, "bold"), f": {result.model_uri} on {result.images} sealed test images"))
    accuracy = (f"{result.accuracy:.2%}", "bold")
    console.print(Text.assemble("accuracy ", accuracy, f" (95 % interval {low:.2%} to {high:.2%})"))
    for entry in result.measures or (MeasureScore(name="macro-F1", value=result.macro_f1, interval=None),):
        console.print(f"{entry.name} {entry.value:.4f}{_shown(entry.interval)}", markup=False, soft_wrap=True)
    console.print(f"{describe_look(result)}\n", soft_wrap=True)
    console.print(_class_table(result))


def _shown(interval: tuple[float, float] | None) -> str:
    return f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""


def _class_table(result: LookResult) -> Table:
    table = Table("class", title_justify="left")
    for heading in ("images", "precision", "recall", "F1", "most often mistaken for"):
        table.add_column(heading, justify="left" if heading.startswith("most") else "right")
    for label, row in enumerate(result.per_class):
        numbers = [f"{value:.3f}" for value in (row.precision, row.recall, row.f1)]
        table.add_row(Text(row.name), str(row.support), *numbers, Text(show_mistake(result, label)))
    return table


def show_mistake(scores: Scores, label: int) -> str:
    """The class that images of class `label` are most often given by mistake, such as `cat (3)`, or a dash."""
    mistake = scores.most_mistaken_for(label)
    return f"{mistake[0]} ({mistake[1]})" if mistake else "-"
