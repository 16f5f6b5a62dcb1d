"""Tables of a look at the test set: the measures, and the scores of each class."""

from __future__ import annotations

from search.report.html_tables import Cell, Table, count_cell, text_cell
from search.report.metric import percent
from search.store.look_result import LookResult
from search.verdict.measures import f1_intervals, recall_interval
from search.verdict.scores import show_mistake


def measure_table(test: LookResult) -> Table | None:
    """The measures beyond accuracy; None for a look of a version that had none."""
    if not test.measures:
        return None
    rows = [("accuracy", test.accuracy, test.interval)]
    rows += [(entry.name, entry.value, entry.interval or (entry.value, entry.value)) for entry in test.measures]
    unsure = {entry.name for entry in test.measures if entry.interval is None}
    return Table(
        caption=(
            "Balanced accuracy is the mean of the classes' recalls, macro-F1 that of their F1 scores. AUROC is the "
            "mean area under the ROC curve of one class against the rest. Intervals: Wilson for shares, DeLong "
            "for AUROC, resampled images for macro-F1."
        ),
        headings=("measure", "test", "95 % interval"),
        rows=tuple(
            (
                text_cell(name),
                Cell(text=f"{value:.4f}", key=value),
                text_cell("-" if name in unsure else f"{low:.4f} to {high:.4f}"),
            )
            for name, value, (low, high) in rows
        ),
    )


def class_table(test: LookResult) -> Table:
    """Scores of each class in a look at the test set."""
    rows, intervals = [], f1_intervals(test)
    for label, entry in enumerate(test.per_class):
        rows.append(
            (
                text_cell(entry.name),
                count_cell(entry.support),
                Cell(text=percent(entry.recall), key=entry.recall),
                text_cell(_range(recall_interval(test, label))),
                Cell(text=percent(entry.precision), key=entry.precision),
                Cell(text=percent(entry.f1), key=entry.f1),
                text_cell(_range(intervals[label])),
                text_cell(show_mistake(test, label)),
            )
        )
    return Table(
        caption=(
            "Test images by class, with 95 % Wilson intervals. Recall is the accuracy on the images of the class. "
            "Click a heading to sort."
        ),
        headings=("class", "images", "recall", "95 %", "precision", "F1", "95 %", "most often mistaken for"),
        rows=tuple(rows),
        sorts=True,
    )


def _range(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {percent(interval[1])}"
