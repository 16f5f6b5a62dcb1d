"""Sentences about a study's data: which choices helped, by how much, and how certain that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from data.augment import Augmentation
from data.text import listed
from search.report.facts import StageFacts, StudyFacts
from search.report.hints import edge_hints, last_improvement, pruned_choices
from search.report.kept import once_for_stage
from search.report.metric import Metric, percent, plural, show_p, show_time
from search.report.parameter_effects import ParameterEffect, ParameterEffects
from search.report.spent import Pruning
from search.verdict.champion import mean_interval

SIGNIFICANT = 0.05
MOST_LISTED = 8
"""The most parameters that one sentence names."""
Strength = Literal["clear", "unclear", "note"]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One finding, as a sentence or two."""

    about: str
    """Subject of the finding: a stage's name, or `champion`, `test`, `cost`, `ablation`."""
    strength: Strength
    """`clear`: the data support it; `unclear`: they leave it open; `note`: a fact that needs no test."""
    text: str


def observe(
    facts: StudyFacts, effects: Mapping[str, ParameterEffects], pruning: Mapping[str, Pruning]
) -> list[Observation]:
    """All findings of a study, the result first; `effects` and `pruning` hold an entry for each search stage."""
    found = [*_champion(facts), *_test(facts)]
    for stage in facts.stages:
        if not stage.trials.empty:
            found += _stage(stage, effects[stage.name], facts.metric)
    return [*found, *_pruning(list(pruning.values()))]


def _champion(facts: StudyFacts) -> Iterator[Observation]:
    if not facts.finalists or facts.confirmation is None:
        return
    if facts.confirmation.pinned.cells:  # Cells are compared in a chapter of their own.
        yield from _overfitting(facts)
        return
    champion, *others = facts.finalists
    metric = facts.metric
    for other in others:
        shared = sorted(champion.values.keys() & other.values.keys())
        differences = [champion.values[seed] - other.values[seed] for seed in shared]
        interval = mean_interval(differences)
        if interval is None:
            text = (
                f"The champion and finalist {other.index + 1} share a single seed, which is too few to separate them."
            )
            yield Observation(about="champion", strength="unclear", text=text)
            continue
        mean = sum(differences) / len(differences)
        is_clear = not interval[0] <= 0 <= interval[1]
        size = metric.show_difference(mean)
        lead = "level with" if size == metric.show_difference(0.0) else f"{size} {_ahead(mean, metric)}"
        yield Observation(
            about="champion",
            strength="clear" if is_clear else "unclear",
            text=(
                f"The champion is {lead} finalist {other.index + 1} "
                f"over {len(shared)} shared seeds (95 % interval of the paired difference: "
                f"{metric.show_signed(*interval)}). "
                f"{'The difference is clear.' if is_clear else 'These seeds do not separate the two.'}"
            ),
        )
    yield from _shrinkage(facts)
    yield from _overfitting(facts)


def _ahead(difference: float, metric: Metric) -> str:
    return "ahead of" if (difference >= 0) == metric.maximize or difference == 0 else "behind"


def _shrinkage(facts: StudyFacts) -> Iterator[Observation]:
    last, champion, metric = facts.stages[-1], facts.finalists[0], facts.metric
    if last.snapshot.best is None:
        return
    gap = champion.mean - last.snapshot.best
    better = gap > 0 if metric.maximize else gap < 0
    yield Observation(
        about="champion",
        strength="note",
        text=(
            f"The {metric.best_label} of {last.name} reached {metric.show(last.snapshot.best)}; the champion's mean "
            f"over {plural(len(champion.values), 'fresh seed')} is {metric.show(champion.mean)}, "
            f"{metric.show_difference(gap)} {'better' if better else 'worse'}. {longer_confirmation(facts)}"
            "Expect the mean: the best of many runs tends to be lucky."
        ),
    )


def longer_confirmation(facts: StudyFacts) -> str:
    """A sentence, with a space after it, if the finalists trained for another number of epochs than the last stage."""
    assert facts.confirmation is not None
    searched, confirmed = planned_epochs(facts.stages[-1]), planned_epochs(facts.confirmation)
    if searched == confirmed:
        return ""
    return (
        f"The two are not comparable: the finalists trained for {confirmed} epochs, the trials of the search for "
        f"{searched}. "
    )


def planned_epochs(stage: StageFacts) -> str:
    """The number of epochs of a stage's trials, as a range where they differ."""
    planned = stage.trials["epochs_planned"].dropna().astype(int)
    if planned.empty:
        return str(stage.pinned.epochs)
    low, high = planned.min(), planned.max()
    return str(low) if low == high else f"{low} to {high}"


def fold_of_each_seed(stage: StageFacts) -> str:
    """The end of a clause on the seeds of a final stage that trains on folds; else empty."""
    return f", each seed on another of {stage.pinned.folds} folds" if stage.pinned.folds else ""


def overlap_of_folds(stage: StageFacts) -> str:
    """A sentence, with a space before it, on the intervals of a final stage that trains on folds; else empty."""
    if not stage.pinned.folds:
        return ""
    return " The folds' training images overlap, so the intervals are somewhat too narrow (Nadeau and Bengio 2003)."


def _overfitting(facts: StudyFacts) -> Iterator[Observation]:
    assert facts.confirmation is not None
    epochs, numbers = facts.confirmation.epochs, list(facts.finalists[0].trials.values())
    if epochs.empty:
        return
    runs = epochs[epochs["trial"].isin(numbers)].groupby("trial")
    best = epochs.loc[runs["val_accuracy"].idxmax()]
    train, val = float(best["train_accuracy"].mean()), float(best["val_accuracy"].mean())
    digits = facts.metric.digits
    config = facts.finalists[0].config
    augments = any(config.get(field.name, field.default) != field.default for field in fields(Augmentation))
    images = f"{'augmented ' if augments else ''}training images"
    yield Observation(
        about="champion",
        strength="note",
        text=(
            f"At the champion's best epochs, accuracy is {percent(train, digits)} on {images} and "
            f"{percent(val, digits)} on validation images, {abs(100 * (train - val)):.{digits}f} points "
            f"{'lower' if val < train else 'higher'}."
        ),
    )


def _test(facts: StudyFacts) -> Iterator[Observation]:
    if facts.test is None or facts.record.champion is None:
        return
    val, what = facts.record.champion.val_accuracy, "champion's mean validation accuracy"
    if facts.kept_combination:
        if facts.metric.name != "val_accuracy":
            return  # The accuracy of the combination on validation images was not measured.
        val, what = facts.kept_combination.value, "registered classifier's validation accuracy"
    test, digits = facts.test.accuracy, facts.metric.digits
    low, high = facts.test.interval
    agrees = low <= val <= high
    yield Observation(
        about="test",
        strength="note" if agrees else "clear",
        text=(
            f"Test accuracy is {abs(100 * (test - val)):.{digits}f} points {'below' if test < val else 'above'} the "
            f"{what}, which lies {'in' if agrees else 'out'}side the test accuracy's 95 % "
            f"interval{'' if agrees else _disagreement(facts, is_lower=test < val)}."
        ),
    )


def _disagreement(facts: StudyFacts, *, is_lower: bool) -> str:
    """Why the test accuracy may lie below or above the validation accuracy; both are accuracies for any metric."""
    if is_lower:
        return ". The search has overfitted the validation images, or the two sets differ"
    is_refit = facts.record.champion is not None and facts.record.champion.refit_images is not None
    more = "The registered classifier was trained on more images, or " if is_refit else ""
    return f". {more}{'the' if more else 'The'} two sets differ"


@once_for_stage
def _stage(stage: StageFacts, effects: ParameterEffects, metric: Metric) -> tuple[Observation, ...]:
    return tuple(_stage_findings(stage, effects, metric))


def _stage_findings(stage: StageFacts, effects: ParameterEffects, metric: Metric) -> Iterator[Observation]:
    def finding(strength: Strength, text: str) -> Observation:
        return Observation(about=stage.name, strength=strength, text=text)

    if not effects.is_enough:
        yield finding(
            "unclear",
            f"Too few trials to estimate effects: {plural(effects.trials, 'trial')} completed, and about "
            f"{effects.trials_needed} are needed to separate an effect from noise.",
        )
    yield from (finding(*_effect(effect, metric)) for effect in effects.found if effect.p_value < SIGNIFICANT)
    silent = [effect for effect in effects.found if effect.p_value >= SIGNIFICANT]
    if silent:
        yield finding("unclear", _silence(silent, stage, metric))
    if effects.inseparable:
        yield finding(
            "unclear",
            f"{plural(effects.trials, 'complete trial')} cannot separate the effects of: "
            f"{listed(effects.inseparable, MOST_LISTED)}. In these trials they changed together with others.",
        )
    for choice in pruned_choices(stage):
        yield finding(
            "clear",
            f"With {choice.parameter} {choice.level}, {choice.pruned} of {plural(choice.trials, 'trial')} were pruned; "
            f"without it, {choice.others_pruned} of {choice.others} (Fisher's exact test, corrected for "
            f"{plural(choice.tests, 'comparison')}: {show_p(choice.p_value)}).",
        )
    yield from (finding("note", hint) for hint in edge_hints(stage))
    progress = last_improvement(stage)
    if progress:
        yield finding("note", progress)


def _silence(silent: list[ParameterEffect], stage: StageFacts, metric: Metric) -> str:
    """The parameters without a clear effect, and how large an effect the noise could hide.

    A bound that is larger than the range of all observed values excludes nothing, so it is left out.
    """
    values = stage.complete["value"]
    spread = float(values.max() - values.min())
    bounded = sorted((e for e in silent if e.interval[1] < spread), key=lambda e: e.interval[1])
    trials = plural(len(values), "complete trial")
    sentences = []
    if bounded:
        bounds = listed([f"{e.parameter} ({metric.show_difference(e.interval[1])})" for e in bounded], MOST_LISTED)
        sentences.append(
            f"No clear effect, in {trials}, of: {bounds}. The figure in brackets is the largest effect that noise "
            "could still hide."
        )
    rest = [e.parameter for e in silent if e not in bounded]
    if rest:
        sentences.append(f"{trials} are too few to bound the effect of: {listed(rest, MOST_LISTED)}.")
    return " ".join(sentences)


def _effect(effect: ParameterEffect, metric: Metric) -> tuple[Strength, str]:
    sure = (
        f"95 % interval {metric.show_signed(*effect.interval)}, {show_p(effect.p_value)}, "
        f"{effect.trials} complete trials"
    )
    if effect.interval[0] <= 0:
        return "unclear", (
            f"{effect.parameter} has an effect, but its best value is uncertain: {effect.better} is "
            f"{metric.show_difference(effect.difference)} ahead of {effect.worse} with all other choices held equal "
            f"({sure})."
        )
    gained = f"raised {metric.label} by" if metric.maximize else "lowered the loss by"
    return "clear", (
        f"{effect.parameter} {effect.better} instead of {effect.worse} {gained} "
        f"{metric.show_difference(effect.difference)} with all other choices held equal ({sure})."
    )


def _pruning(stages: list[Pruning]) -> Iterator[Observation]:
    pruned, saved_s = sum(stage.trials for stage in stages), sum(stage.saved_s for stage in stages)
    spent_s = sum(stage.spent_s for stage in stages)
    if pruned and spent_s:
        yield Observation(
            about="cost",
            strength="note",
            text=(
                f"Pruning stopped {plural(pruned, 'trial')} early. That saved {show_time(saved_s)} of worker time, "
                f"{saved_s / (saved_s + spent_s):.0%} of what the search stages would have used without pruning."
            ),
        )
