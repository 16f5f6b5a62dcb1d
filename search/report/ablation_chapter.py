"""The page's chapter on an ablation: what each factor was worth, cell by cell and class by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from search.report.facts import StageFacts, StudyFacts
from search.report.figures import effect_plots as figures
from search.report.figures.style import Plot
from search.report.html_tables import Cell, Table
from search.report.metric import Metric, percent, plural, show_p, signed
from search.report.observations import Observation, Strength
from search.verdict.ablation_result import METHOD, AblationResult, CellResult, mean_scores
from search.verdict.factorial import Contrast, Effect
from studies.ablation import describe_level

MANY_ROWS = 120
"""Of the table of classes: beyond it nobody reads on."""


@dataclass(frozen=True, kw_only=True)
class AblationChapter:
    """What `ablation.html.j2` shows."""

    lead: str
    findings: tuple[Observation, ...]
    forest: Plot
    effects: Table
    cells: Table
    plots: tuple[Plot, ...]
    classes: Table | None


def ablation_chapter(facts: StudyFacts, result: AblationResult, stage: StageFacts) -> AblationChapter:
    """The chapter, from what the ablation found so far and the epochs of its trials."""
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
            f"{plural(cells, 'cell')}, every combination of the factors' levels, each trained on the same "
            f"{plural(seeds, 'seed')}{_on_folds(stage)}. {METHOD[0].upper()}{METHOD[1:]}."
        ),
        findings=tuple(_findings(result, metric, cells)),
        forest=figures.forest(result.effects, metric),
        effects=_effect_table(result, metric),
        cells=_cell_table(result, metric),
        plots=tuple(plot for plot in plots if plot),
        classes=_class_table(result),
    )


def _on_folds(stage: StageFacts) -> str:
    if not stage.pinned.folds:
        return ""
    return (
        f", seed by seed on another of {stage.pinned.folds} folds (whose training images overlap, so that the "
        "intervals are somewhat too narrow: Nadeau and Bengio 2003)"
    )


def _findings(result: AblationResult, metric: Metric, cells: int) -> Iterator[Observation]:
    for effect in result.effects:
        strength: Strength = "clear" if effect.is_clear else "unclear"
        yield Observation(about="ablation", strength=strength, text=_say(effect, metric))
    if len(result.cells) < cells:
        text = f"{plural(cells - len(result.cells), 'cell')} without a complete run: effects that need it are left out."
        yield Observation(about="ablation", strength="note", text=text)
    lost = sum(cell.runs.lost_runs for cell in result.cells)
    if lost:
        text = f"{plural(lost, 'run')} diverged or failed and could not be counted; cells that lost one rank last."
        yield Observation(about="ablation", strength="note", text=text)


def _say(effect: Effect, metric: Metric) -> str:
    contrast = effect.contrast
    better = (contrast.estimate > 0) == metric.maximize
    size = metric.show_difference(contrast.estimate)
    interval = f"95 % interval {metric.show_signed(*contrast.interval)}" if contrast.interval else "no interval"
    p = "" if effect.adjusted_p is None else f", {show_p(effect.adjusted_p)}"
    verdict = "" if effect.is_clear else "; not told from no effect by these runs"
    if len(effect.factors) == 1:
        what = f"{figures.describe_effect(effect)}: {size} {'better' if better else 'worse'}"
    else:
        (one, two), (first, second) = effect.factors, effect.levels
        more = "more" if better else "less"
        what = f"{describe_level(one, first)} is worth {size} {more} with {describe_level(two, second)}"
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
                key=effect.adjusted_p or 0.0,
            ),
            _text("clear" if effect.is_clear else "unclear"),
        )
        for effect in result.effects
    )
    return Table(
        caption=(
            f"Difference in {metric.label}, from the first level to the other. A line of one factor is its main "
            "effect, averaged over all levels of the other factors; a line of two is their interaction, by how much "
            "the one's effect is larger with the other. p: after Holm's correction over all lines."
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
            f"Mean {metric.label} over the seeds, with Student's t interval, and the difference from the base model, "
            "the cell of all first levels, within seeds. Accuracy, balanced accuracy (mean of the classes' recalls) "
            "and macro-F1: of the kept weights, asked once more in float32, mean over the runs; validation images."
        ),
        headings=(
            *result.cells[0].levels, "runs", "mean", "95 % interval", "from the base model", "its 95 % interval",
            "accuracy", "balanced accuracy", "macro-F1",
        ),
        rows=tuple(rows),
        sorts=True,
    )  # fmt: skip


def _class_table(result: AblationResult) -> Table | None:
    """Scores of every class in every cell; None without answers, or where there are too many to read."""
    rows = [row for cell in result.cells for row in _class_rows(cell, result.classes)]
    if not rows or len(rows) > MANY_ROWS:
        return None
    return Table(
        caption=(
            "Validation images by class, mean over the runs of a cell. A class's recall is its own accuracy. Click a "
            "heading to sort."
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
    shown = signed(100 * value, metric.digits) if metric.is_share else signed(value, 3)
    return Cell(text=shown, key=value), _text(interval)


def _share(value: float | None, digits: int = 1) -> Cell:
    return Cell(text="-", key=0.0) if value is None else Cell(text=percent(value, digits), key=value)


def _text(text: str) -> Cell:
    return Cell(text=text, key=text)
