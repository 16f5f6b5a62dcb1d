"""Test scores: what is computed from labels and predictions, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.store.seal import describe_look
from search.trials.validation_predictions import ValidationPredictions

CONFIDENCE_LEVEL = 0.95


def score(
    labels_N: npt.NDArray[np.int64], predictions_N: npt.NDArray[np.int64], classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson score interval, macro-F1, scores per class and the confusion matrix.

    A class without a prediction or without an image scores 0. Rows of the matrix are true classes, columns predicted
    ones. Source of the interval: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    from scipy.stats import binomtest
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    indices = range(len(classes))
    images, correct = len(labels_N), int((labels_N == predictions_N).sum())
    interval = binomtest(correct, images).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    by_class = precision_recall_fscore_support(labels_N, predictions_N, labels=indices, zero_division=0)
    columns = ("precision", "recall", "f1", "support")
    rows = zip(classes, *(column.tolist() for column in by_class), strict=True)
    return {
        "accuracy": correct / images,
        "interval": [float(interval.low), float(interval.high)],
        "macro_f1": float(by_class[2].mean()),
        "images": images,
        "per_class": [{"class": name, **dict(zip(columns, values, strict=True))} for name, *values in rows],
        "confusion": confusion_matrix(labels_N, predictions_N, labels=indices).tolist(),
    }


def score_answers(answers: ValidationPredictions, classes: Sequence[str]) -> dict[str, Any]:
    """`score` of a network's answers on validation images, and `balanced_accuracy`, the mean of the recalls."""
    scores = score(answers.labels_M, answers.probabilities_MC.argmax(axis=1), classes)
    recalls = [entry["recall"] for entry in scores["per_class"] if entry["support"]]
    return {**scores, "balanced_accuracy": float(np.mean(recalls))}


def show(study: str, result: Mapping[str, Any]) -> None:
    """Print a look's result for people, on stdout."""
    low, high = result["interval"]
    console = Console()
    console.print(f"[bold]{study}[/bold]: {result['model_uri']} on {result['images']} sealed test images")
    console.print(f"accuracy [bold]{result['accuracy']:.2%}[/bold] (95 % interval {low:.2%} to {high:.2%})")
    console.print(f"macro-F1 {result['macro_f1']:.4f}, {describe_look(result)}\n", soft_wrap=True)
    console.print(_class_table(result))


def _class_table(result: Mapping[str, Any]) -> Table:
    table = Table("class", title_justify="left")
    for heading in ("images", "precision", "recall", "F1", "most often taken for"):
        table.add_column(heading, justify="left" if heading.startswith("most") else "right")
    for index, row in enumerate(result["per_class"]):
        numbers = [f"{row[key]:.3f}" for key in ("precision", "recall", "f1")]
        table.add_row(Text(row["class"]), str(row["support"]), *numbers, Text(_likeliest_mistake(result, index)))
    return table


def _likeliest_mistake(result: Mapping[str, Any], index: int) -> str:
    wrong = [count if other != index else 0 for other, count in enumerate(result["confusion"][index])]
    worst = max(range(len(wrong)), key=wrong.__getitem__)
    return f"{result['classes'][worst]} ({wrong[worst]})" if wrong[worst] else "-"
