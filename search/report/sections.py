"""The report's chapters: one for each stage, and one for all stages together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from search import names
from search.report import html_tables as tables
from search.report.drawing import Draw, Make, draw_now
from search.report.facts import StageFacts, StudyFacts
from search.report.figures import front as pareto
from search.report.figures import over_time as progress
from search.report.figures import space
from search.report.figures.style import Plot
from search.report.importance import MIN_TRIALS, Importance, RankParameters, rank_parameters, trials_needed
from search.report.metric import plural
from search.report.observations import Observation
from search.report.pooling import pool_trials
from search.report.probe_table import probe_table
from search.report.spaces import parameters_of
from studies.definition import Confirm


@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of the report."""

    key: str
    """Names the chapter also when chapters before it are added."""
    title: str
    lead: str
    observations: tuple[Observation, ...] = ()
    plots: tuple[Plot, ...] = ()
    slices: tuple[Plot, ...] = ()
    slices_note: str = ""
    """What the slices leave out."""
    importance: Sequence[Importance] | None = ()
    """None while it is being estimated."""
    needed: int = MIN_TRIALS
    """Number of complete trials that the estimate of importance needs."""
    best: tables.Table | None = None
    probes: tables.Table | None = None
    """The backbones of a probe stage, which has no parameters to be shown."""


def sections_of(
    facts: StudyFacts,
    observations: Sequence[Observation],
    rank: RankParameters = rank_parameters,
    draw: Draw = draw_now,
) -> Iterator[Section]:
    """A section for each stage that has begun and, with several stages, one for all of them together."""
    for stage in facts.stages:
        if not stage.trials.empty:
            own = tuple(found for found in observations if found.about == stage.name)
            is_probe = stage.pinned.is_probe
            yield _probe_section(stage, facts, own) if is_probe else _stage_section(stage, facts, own, rank, draw)
    if len(facts.stages) > 1 and any(not stage.complete.empty for stage in facts.stages):
        yield _pooled_section(facts, rank, draw)


def _stage_section(
    stage: StageFacts, facts: StudyFacts, observations: tuple[Observation, ...], rank: RankParameters, draw: Draw
) -> Section:
    metric, key = facts.metric, f"stage-{stage.record.position + 1}"
    importance = rank(stage.optuna_trials)
    parameters = {parameter.name: parameter for parameter in parameters_of(stage.optuna_trials)}
    ranked = [parameters[entry.parameter] for entry in importance or ()] or list(parameters.values())
    measured = stage.trials[stage.trials["value"].notna()]
    params = stage.params.loc[measured.index]
    complete = [stage.optuna_trials[number] for number in stage.complete.index]
    has_marks = bool(ranked) and not measured.empty
    figures: dict[str, Make] = {
        "front": lambda: [pareto.front_plot(stage, metric)],
        "order": lambda: [progress.creation_order([stage], metric)],
        "curves": lambda: [progress.epoch_curves([stage], metric)],
        "parallel": lambda: (
            [space.parallel_coordinates(params, measured["value"], ranked, metric)] if has_marks else []
        ),
        "contour": lambda: [space.contour(complete, ranked, metric)],
    }
    inputs = (stage, tuple(parameter.name for parameter in ranked))
    return Section(
        key=key,
        title=f"Stage {stage.record.position + 1}: {stage.name}",
        lead=_lead(stage, facts),
        observations=observations,
        plots=tuple(plot for name, make in figures.items() for plot in draw(f"{key} {name}", inputs, make)),
        slices=draw(
            f"{key} slices", inputs, lambda: space.slices(params, measured, ranked, metric) if has_marks else []
        ),
        slices_note=space.slices_note(measured, ranked),
        importance=importance,
        needed=trials_needed(len(parameters)),
        best=tables.best_table([stage], metric),
    )


def _probe_section(stage: StageFacts, facts: StudyFacts, observations: tuple[Observation, ...]) -> Section:
    plots = (pareto.front_plot(stage, facts.metric),)
    return Section(
        key=f"stage-{stage.record.position + 1}",
        title=f"Stage {stage.record.position + 1}: {stage.name}",
        lead=(
            f"{plural(stage.pinned.trials, 'backbone')}, each evaluated by a linear classifier on its features of at "
            f"most {stage.pinned.probe_images:,} training images."
        ),
        observations=observations,
        plots=tuple(plot for plot in plots if plot),
        probes=probe_table(stage, facts.metric, _taken_over(stage, facts)),
    )


def _taken_over(stage: StageFacts, facts: StudyFacts) -> int:
    """The number of configurations that the stage after this one takes over."""
    following = facts.record.definition.stages[stage.record.position + 1 :]
    if following:
        return following[0].bases
    ending = facts.record.definition.ending
    return ending.finalists if isinstance(ending, Confirm) else 1


def _lead(stage: StageFacts, facts: StudyFacts) -> str:
    pinned, warm = stage.pinned, facts.record.definition.warm_start
    around = f" around {plural(len(pinned.bases), 'base configuration')}"
    shared = ""
    if pinned.earlier:
        around, before = "", " and ".join(name.rsplit("/", 1)[1].split("-", 1)[1] for name in pinned.earlier)
        shared = f" They also search what {before} searched. Trials that paused there may continue."
    aims = f", two aims: {facts.metric.label} and few {pinned.against}" if pinned.against else ""
    lead = f"{plural(pinned.trials, 'trial')}{around}, {pinned.sampler} sampler, {pinned.pruner} pruner{aims}.{shared}"
    if warm and stage.record.position == 0:
        lead += f" Warm start: {plural(len(warm.taken), 'trial')} with the best configurations of study {warm.study}."
    picked = [f"#{trial.number}" for trial in stage.optuna_trials if trial.user_attrs.get(names.HAND_PICKED)]
    if picked:
        lead += f" {plural(len(picked), 'trial')} picked by hand with `sieve try`: {', '.join(picked)}."
    return lead + _early_end(stage, facts)


def _early_end(stage: StageFacts, facts: StudyFacts) -> str:
    """A sentence for a stage that ended early."""
    end, metric = stage.pinned.early_end, facts.metric
    if end is None:
        return ""
    gain, noise = metric.show_difference(end.gain), metric.show_difference(end.noise)
    return (
        f" The stage ended early after {end.begun} of {plural(end.planned, 'trial')}: a gain of {gain} was still "
        f"possible, less than the noise between seeds, {noise}. {plural(stage.snapshot.skipped, 'trial')} skipped."
    )


def _pooled_section(facts: StudyFacts, rank: RankParameters, draw: Draw) -> Section:
    trials = pool_trials(facts)
    parameters = parameters_of(trials)

    def parallel() -> list[Plot]:
        params = pd.DataFrame([trial.params for trial in trials], dtype=object)
        values = pd.Series([trial.value for trial in trials], dtype=float)
        return [space.parallel_coordinates(params, values, parameters, facts.metric)]

    return Section(
        key="all-stages",
        title="All stages together",
        lead=(
            "All complete trials of all stages with all searched hyperparameters. Stages differ in epochs and base "
            "configurations, so the stage is shown as a parameter of its own."
        ),
        plots=draw("all-stages parallel", facts.stages, parallel),
        importance=rank(trials),
        needed=trials_needed(len(parameters)),
        best=tables.best_table(facts.stages, facts.metric),
    )
