"""The report's chapter on an ablation: the effect of each factor, and results by cell and by class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from search.report.facts import StageFacts, StudyFacts
from search.report.figures import effect_plots as figures
from search.report.figures.style import Plot
from search.report.metric import Metric, percent, plural, show_p
from search.report.observations import Observation, Strength, fold_of_each_seed, overlap_of_folds
from search.report.table import Cell, Table
from search.settings import Settings
from search.trials.artifacts import open_artifacts
from search.verdict.ablation_result import METHOD, AblationResult, CellResult, mean_scores, read_ablation
from search.verdict.factorial import Contrast, Effect
from studies.ablation import describe_level

MANY_ROWS = 120
"""Largest number of rows for which the table of classes is shown."""


@dataclass(frozen=True, kw_only=True)
class AblationChapter:
    """The content of `ablation.html.j2`."""

    lead: str
    findings: tuple[Observation, ...]
    forest: Plot
    effects: Table
    cells: Table
    plots: tuple[Plot, ...]
    classes: Table | None


def read_chapter(settings: Settings, facts: StudyFacts) -> AblationChapter | None:
    """Read the chapter of a study that ends with an ablation; None for any other study."""
    last = facts.confirmation
    if last is None:
        return None
    result = read_ablation(facts.record, last.record, last.optuna_trials, open_artifacts(settings).root)
    return ablation_chapter(facts, result, last) if result else None


def ablation_chapter(facts: StudyFacts, result: AblationResult, stage: StageFacts) -> AblationChapter:
    """The chapter on an ablation, finished or not, from its results and the epochs of its trials."""
    metric, counts = facts.metric, facts.record.data.label_distribution["train"]
    value = metric.axis_format
    plots = (
        figures.curves(result, stage, metric.name, metric.label, value),
        figures.curves(result, stage, "train_accuracy", "training accuracy", ".1%"),
        figures.curves(result, stage, "train_loss", "training loss", ".3f"),
        figures.curves(result, stage, "val_loss", "validation loss", ".3f") if metric.name != "val_loss" else None,
        figures.confusions(result),
        figures.precision_recall(result, min(result.classes, key=lambda name: counts[name])),
    )
    cells, seeds = len(stage.pinned.cells), len(set(stage.pinned.seeds))
    return AblationChapter(
        lead=(
            f"The ablation has {plural(cells, 'cell')}, one for each combination of the factors' levels. Each cell is "
            f"trained on the same {plural(seeds, 'seed')}{fold_of_each_seed(stage)}.{overlap_of_folds(stage)} "
            f"Method: {METHOD}."
        ),
        findings=tuple(_findings(result, metric, cells)),
        forest=figures.forest(result.effects, metric),
        effects=_effect_table(result, metric),
        cells=_cell_table(result, metric),
        plots=tuple(plot for plot in plots if plot),
        classes=_class_table(result),
    )


def _findings(result: AblationResult, metric: Metric, cells: int) -> Iterator[Observation]:
    for effect in result.effects:
        strength: Strength = "clear" if effect.is_clear else "unclear"
        yield Observation(about="ablation", strength=strength, text=_describe(effect, metric))
    if len(result.cells) < cells:
        text = (
            f"{plural(cells - len(result.cells), 'cell')} without a complete run; effects that need them are left out."
        )
        yield Observation(about="ablation", strength="note", text=text)
    lost = sum(cell.runs.lost_runs for cell in result.cells)
    if lost:
        text = f"{plural(lost, 'run')} diverged or failed. A cell that lost a run ranks last."
        yield Observation(about="ablation", strength="note", text=text)


def _describe(effect: Effect, metric: Metric) -> str:
    contrast = effect.contrast
    better = (contrast.estimate > 0) == metric.maximize
    size = metric.show_difference(contrast.estimate)
    interval = f"95 % interval {metric.show_signed(*contrast.interval)}" if contrast.interval else "no interval"
    p = "" if effect.adjusted_p is None else f", {show_p(effect.adjusted_p)}"
    verdict = "" if effect.is_clear else "; these runs do not separate it from no effect"
    if len(effect.factors) == 1:
        what = f"{figures.describe_effect(effect)}: {size} {'better' if better else 'worse'}"
    else:
        (one, two), (first, second) = effect.factors, effect.levels
        more = "more" if better else "less"
        what = f"{describe_level(one, first)} gains {size} {more} with {describe_level(two, second)}"
    return f"{what} in {metric.label} ({interval}{p}){verdict}."


def _effect_table(result: AblationResult, metric: Metric) -> Table:
    rows = tuple(
        (
            _text(" x ".join(effect.factors)),
            _text(" x ".join(effect.reference)),
            _text(" x ".join(effect.levels)),
            *_difference(effect.contrast, metric),
            Cell(
                text="-"
                if effect.adjusted_p is None
                else show_p(effect.adjusted_p).removeprefix("p ").removeprefix("= "),
                key=math.nan if effect.adjusted_p is None else effect.adjusted_p,
            ),
            _text("clear" if effect.is_clear else "unclear"),
        )
        for effect in result.effects
    )
    return Table(
        caption=(
            f"Difference in {metric.label} between two levels. A row with one factor is its main effect, averaged "
            "over all levels of the other factors. A row with two factors is their interaction: the increase of one "
            "factor's effect with the level of the other. The p-values are corrected over all rows (Holm)."
        ),
        headings=("effect", "from", "to", "difference", "95 % interval", "p", "verdict"),
        rows=rows,
        sorts=True,
    )


def _cell_table(result: AblationResult, metric: Metric) -> Table:
    rows = []
    for cell in result.cells:
        scores = mean_scores(cell.answers, result.classes)
        means = (scores.accuracy, scores.balanced_accuracy, scores.macro_f1) if scores else (None,) * 3
        rows.append(
            (
                *(_text(level) for level in cell.levels.values()),
                Cell(text=str(len(cell.runs.values)), key=float(len(cell.runs.values))),
                Cell(text=metric.show(cell.runs.mean), key=cell.runs.mean),
                _text(metric.show_interval(cell.runs.interval)),
                *(_difference(cell.difference, metric) if cell.difference else (_text("base model"), _text("-"))),
                *(_share(value, metric.digits) for value in means),
            )
        )
    return Table(
        caption=(
            f"Mean {metric.label} over the seeds with its interval (Student's t), and the difference within seeds "
            "from the base model, the cell with the first level of every factor. Accuracy, balanced accuracy (mean "
            "of the classes' recalls) and macro-F1 are those of the kept weights in float32 on validation images, "
            "mean over the runs."
        ),
        headings=(
            *result.cells[0].levels, "runs", "mean", "95 % interval", "from the base model", "its 95 % interval",
            "accuracy", "balanced accuracy", "macro-F1",
        ),
        rows=tuple(rows),
        sorts=True,
    )  # fmt: skip


def _class_table(result: AblationResult) -> Table | None:
    """Scores of every class in every cell; None without predictions, or with more than `MANY_ROWS` rows."""
    rows = [row for cell in result.cells for row in _class_rows(cell, result.classes)]
    if not rows or len(rows) > MANY_ROWS:
        return None
    return Table(
        caption=(
            "Scores of each class on validation images, mean over the runs of a cell. Recall is the accuracy on the "
            "images of the class. Click a heading to sort."
        ),
        headings=("class", *result.cells[0].levels, "recall", "precision", "F1"),
        rows=tuple(rows),
        sorts=True,
    )


def _class_rows(cell: CellResult, classes: tuple[str, ...]) -> Iterator[tuple[Cell, ...]]:
    scores = mean_scores(cell.answers, classes)
    for entry in scores.per_class if scores else ():
        levels = (_text(level) for level in cell.levels.values())
        yield (_text(entry.name), *levels, _share(entry.recall), _share(entry.precision), _share(entry.f1))


def _difference(contrast: Contrast, metric: Metric) -> tuple[Cell, Cell]:
    value = contrast.estimate
    interval = metric.show_signed(*contrast.interval) if contrast.interval else "-"
    return Cell(text=metric.signed(value), key=value), _text(interval)


def _share(value: float | None, digits: int = 1) -> Cell:
    return Cell(text="-", key=math.nan) if value is None else Cell(text=percent(value, digits), key=value)


def _text(text: str) -> Cell:
    return Cell(text=text, key=text)
