"""Tables of a look at the test set: the measures, and the scores of each class."""

from __future__ import annotations

from models.thresholds import CERTAINTY
from search.report.metric import percent
from search.report.table import Cell, Table, count_cell, text_cell
from search.store.champion_record import ChampionRecord
from search.store.look_result import LookResult, SelectiveResult
from search.verdict.calibration_error import AFTER, BEFORE, BINS
from search.verdict.intervals import wilson
from search.verdict.measures import f1_intervals, recall_interval
from search.verdict.scores import show_mistake


def measure_table(test: LookResult) -> Table | None:
    """The measures beyond accuracy; None for a look of a version that had none."""
    if not test.measures:
        return None
    rows = [("accuracy", test.accuracy, test.interval)]
    shown = [entry for entry in test.measures if entry.name not in (BEFORE, AFTER)]  # They have their own table.
    rows += [(entry.name, entry.value, entry.interval or (entry.value, entry.value)) for entry in shown]
    unsure = {entry.name for entry in test.measures if entry.interval is None}
    return Table(
        caption=(
            "Balanced accuracy is the mean of the classes' recalls, macro-F1 that of their F1 scores. AUROC is the "
            "mean area under the ROC curve of one class against the rest. Intervals: Wilson for shares, DeLong "
            "for AUROC, bootstrap over images for macro-F1."
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


def calibration_table(champion: ChampionRecord, test: LookResult | None) -> Table | None:
    """The expected calibration error without and with the temperature; None for champions of versions without one."""
    if not champion.calibration_errors:
        return None
    rows = [("validation", entry) for entry in champion.calibration_errors]
    rows += [("test", entry) for entry in test.measures if entry.name in (BEFORE, AFTER)] if test else []
    return Table(
        caption=(
            f"Expected calibration error: mean difference between confidence and accuracy in {BINS} bins. The logits "
            f"are divided by {champion.temperature:.3g}, which was fitted on validation images (Guo et al. 2017)"
            f"{'' if champion.temperature != 1 else '; no other temperature helped'}. Intervals: bootstrap over images."
        ),
        headings=("images", "temperature", "calibration error", "95 % interval"),
        rows=tuple(
            (
                text_cell(images),
                text_cell("without" if entry.name == BEFORE else "with"),
                Cell(text=f"{entry.value:.4f}", key=entry.value),
                text_cell(f"{entry.interval[0]:.4f} to {entry.interval[1]:.4f}" if entry.interval else "-"),
            )
            for images, entry in rows
        ),
    )


def selective_table(champion: ChampionRecord, test: LookResult | None) -> Table | None:
    """The share of answers and their precision at each confidence threshold; None without thresholds."""
    if not champion.selective:
        return None
    on_test = {entry.precision: entry for entry in test.selective} if test else {}
    rows = []
    for entry in champion.selective:
        cells = [Cell(text=f"{entry.confidence:.4f}", key=entry.confidence), _share(entry.answered, entry.images)]
        found = on_test.get(entry.precision)
        if on_test:
            cells.append(_share(found.answered, found.images) if found else text_cell("-"))
            cells.append(text_cell(_precision(found) if found else "-"))
        rows.append((Cell(text=percent(entry.precision), key=entry.precision), *cells))
    tested = ("test images answered", "test precision, 95 %") if on_test else ()
    return Table(
        caption=(
            "Below the confidence threshold the answer is `unsure`. The thresholds were chosen on validation images: "
            f"with a probability of {CERTAINTY:.0%}, the answers to new images of the same kind reach the target "
            "precision (Geifman and El-Yaniv 2017). A target that is not listed needs more validation images. "
            "`sieve predict --precision 0.9` uses these thresholds."
        ),
        headings=("target precision", "confidence threshold", "validation images answered", *tested),
        rows=tuple(rows),
    )


def _share(part: int, whole: int) -> Cell:
    return Cell(text=percent(part / whole), key=part / whole)


def _precision(found: SelectiveResult) -> str:
    if not found.answered:
        return "-"
    share = found.right / found.answered
    return f"{percent(share)} ({_range(wilson(share, found.answered))})"


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
