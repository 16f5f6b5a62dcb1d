"""The report's page: findings, figures and tables of a study, rendered as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from shlex import quote

from search.report import html_tables as tables
from search.report import spent as cost
from search.report.ablation_chapter import AblationChapter
from search.report.drawing import Draw, draw_now
from search.report.embedded_pictures import Picture
from search.report.facts import StageFacts, StudyFacts
from search.report.figures import outcome
from search.report.figures import over_time as progress
from search.report.figures.style import Plot
from search.report.image_problems import ImageProblems
from search.report.importance import RankParameters, rank_parameters
from search.report.kept import once_for_stage
from search.report.look_tables import calibration_table, class_table, measure_table, selective_table
from search.report.metric import percent, plural, show_time
from search.report.observations import Observation, observe
from search.report.parameter_effects import ParameterEffects, estimate_parameter_effects
from search.report.pieces import Page, Pieces
from search.report.sections import Section, sections_of
from search.report.spent import Pruning
from search.report.strategy_table import strategy_table
from search.store.seal import describe_look, describe_unfinished
from search.store.software import GIT_COMMIT, software
from search.verdict.champion import Finalist


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A headline figure at the top of the page."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a report says about a study, before it becomes a page or a document."""

    figures: Sequence[Figure]
    overview: Mapping[str, Plot | None]
    sections: Sequence[Section]
    observations: Sequence[Observation]
    tables: Mapping[str, tables.Table | None]
    command: str
    """The command that started the search."""
    versions: Mapping[str, str]


_pruning, _times = once_for_stage(cost.measure_pruning), once_for_stage(cost.measure_time)


@once_for_stage
def _effects(stage: StageFacts, *, maximize: bool) -> ParameterEffects:
    return estimate_parameter_effects(stage.optuna_trials, maximize=maximize)


def gather(facts: StudyFacts, rank: RankParameters = rank_parameters, draw: Draw = draw_now) -> Contents:
    """The contents of a study's report; `rank` estimates the importance of parameters, `draw` draws the figures."""
    effects = {stage.name: _effects(stage, maximize=facts.metric.maximize) for stage in facts.stages}
    pruning = {stage.name: _pruning(stage) for stage in facts.stages}
    observations = observe(facts, effects, pruning)
    times = [_times(stage, facts.record.data.train) for stage in facts.all_stages]
    return Contents(
        figures=_first_screen(facts),
        overview=_overview(facts, list(pruning.values()), times, draw),
        sections=list(sections_of(facts, observations, rank, draw)),
        observations=observations,
        tables=_tables(facts, times),
        command=_command(facts),
        versions=facts.commands[0].software if facts.commands else software(),
    )


def render(
    facts: StudyFacts,
    pictures: Sequence[Picture],
    ablation: AblationChapter | None = None,
    *,
    problems: ImageProblems | None = None,
    rank: RankParameters = rank_parameters,
    draw: Draw = draw_now,
    open_seal: str | None = None,
) -> Page:
    """Render the report as self-contained HTML that loads nothing from elsewhere; `rank`, `draw`: as for `gather`.

    `open_seal` is the command that measures the champion on the test set, by default that for the default home.
    """
    pieces = Pieces()
    html = pieces.render(
        "page.html.j2",
        **vars(gather(facts, rank, draw)),
        facts=facts,
        metric=facts.metric,
        pictures=pictures,
        problems=problems or ImageProblems(),
        ablation=ablation,
        commit_key=GIT_COMMIT,
        open_seal=open_seal or f"sieve evaluate --study {quote(facts.record.name)}",
        definition=json.dumps(facts.record.definition.to_json(), indent=2),
        made_at=datetime.now(UTC),
        started_at=datetime.fromtimestamp(facts.record.created_at, UTC),
        state=facts.signature,
    )
    return Page(html=html, parts=pieces.parts, figures=pieces.figures)


def _first_screen(facts: StudyFacts) -> list[Figure]:
    metric, champion, test = facts.metric, facts.record.champion, facts.test
    figures = []
    if facts.finalists:
        best = facts.finalists[0]
        detail = _confirmed(facts, best)
        if combination := facts.kept_combination:
            shown = metric.show(combination.value)
            detail += f" · the registered classifier ({combination.name}) has {shown} on the images used to choose it"
        figures.append(Figure(label=metric.label, value=metric.show(best.mean), detail=detail))
    elif best_so_far := [stage.snapshot.best for stage in facts.stages if stage.snapshot.best is not None]:
        so_far = (max if metric.maximize else min)(best_so_far)
        figures.append(Figure(label=metric.label, value=metric.show(so_far), detail=_best_run_so_far(facts)))
    if test:
        low, high = test.interval
        is_refit = champion is not None and champion.refit_images is not None
        is_best_run = not facts.kept_combination and not is_refit
        classifier = "the champion's best run" if is_best_run else "the registered classifier"
        detail = (
            f"95 %: {100 * low:.1f} to {percent(high)} · share of {test.images:,} test images that {classifier} "
            f"classifies correctly, {describe_look(test)}"
        )
        figures.append(Figure(label="test accuracy", value=percent(test.accuracy, metric.digits), detail=detail))
    elif champion:
        figures.append(
            Figure(label="test accuracy", value=describe_unfinished(facts.looks), detail=_without_result(facts))
        )
    hours, unit = cost.worker_hours(facts)
    counts = cost.states(facts.all_stages)
    value = f"{hours:.3g} {unit}" if hours >= 1 else show_time(3600 * hours)
    ends = ", ".join(f"{count} {state}" for state, count in sorted(counts.items(), key=lambda item: -item[1]))
    figures.append(
        Figure(label="cost", value=value, detail=f"sum of the time of {plural(sum(counts.values()), 'trial')}: {ends}")
    )
    return figures


def _confirmed(facts: StudyFacts, best: Finalist) -> str:
    """What the champion's mean averages."""
    assert facts.confirmation is not None
    metric, folds, runs = facts.metric, facts.confirmation.pinned.folds, plural(len(best.values), "run")
    held_out = f" and another of {folds} folds" if folds else ""
    detail = (
        f"95 %: {metric.show_interval(best.interval)} · mean of {runs} of the champion, each on a fresh seed{held_out}"
        f", over {'about ' if folds else ''}{metric.images:,} validation images"
    )
    if folds:
        detail += " · the folds overlap, so the interval is somewhat too narrow"
    champion = facts.record.champion
    if champion is not None and champion.refit_images is not None:
        detail += f" · the registered classifier was trained anew on all {champion.refit_images:,} images"
    return detail


def _without_result(facts: StudyFacts) -> str:
    """Whether test images have been used although there is no test accuracy."""
    if facts.looks:
        return f"{facts.looks[-1].name} crashed or still runs; to look again, run sieve evaluate with --again REASON"
    others = ", ".join(look.name for look in facts.looks_by_others)
    return f"already opened: {others}" if others else "no test image has been used"


def _best_run_so_far(facts: StudyFacts) -> str:
    metric, complete = facts.metric, sum(stage.snapshot.complete for stage in facts.stages)
    images = f"{metric.images:,} validation images"
    images = f"of about {images} each" if metric.folds else f"over {images}"
    return f"the best of {plural(complete, 'complete trial')}, {metric.trial_value} {images}; not confirmed yet"


def _command(facts: StudyFacts) -> str:
    """The command that started the search."""
    if facts.commands:
        return facts.commands[0].command
    return f"sieve run --study {quote(facts.record.name)} --data {quote(facts.record.data.spec.source)}"


def _overview(
    facts: StudyFacts, pruning: list[Pruning], times: list[cost.StageTime], draw: Draw
) -> dict[str, Plot | None]:
    stages, metric, test = [stage for stage in facts.stages if not stage.trials.empty], facts.metric, facts.test
    searched, every = (facts.record.state, facts.stages), (facts.record, facts.all_stages, test)
    makers: dict[str, tuple[object, Callable[[], Plot | None]]] = {
        "comparison": (every, lambda: outcome.comparison(facts)),
        "labels": ((facts.record.data, test), lambda: outcome.labels(facts.record.data, test)),
        "funnel": (every, lambda: outcome.funnel(facts)),
        "pruning": (searched, lambda: outcome.pruning(pruning) if any(stage.trials for stage in pruning) else None),
        "components": (every, lambda: outcome.components(times) if any(time.worker_s for time in times) else None),
        "creation_order": (searched, lambda: progress.creation_order(stages, metric) if len(stages) > 1 else None),
        "epoch_curves": (searched, lambda: progress.epoch_curves(stages, metric) if len(stages) > 1 else None),
        "finalists": (every, lambda: outcome.finalists(facts) if facts.finalists else None),
        "confusion": ((test,), lambda: outcome.confusion(test) if test else None),
    }

    def one(name: str, inputs: object, make: Callable[[], Plot | None]) -> Plot | None:
        return next(iter(draw(name, inputs, lambda: [make()])), None)

    return {name: one(name, inputs, make) for name, (inputs, make) in makers.items()}


def _tables(facts: StudyFacts, times: Sequence[cost.StageTime]) -> dict[str, tables.Table | None]:
    champion = facts.record.champion
    return {
        "champion": tables.champion_table(facts),
        "stages": tables.stage_table(facts, times),
        "times": tables.time_table(times),
        "strategies": strategy_table(facts),
        "finalists": tables.finalist_table(facts),
        "looks": tables.look_table(facts),
        "commands": tables.command_table(facts),
        "classes": class_table(facts.test) if facts.test else None,
        "measures": measure_table(facts.test) if facts.test else None,
        "calibration": calibration_table(champion, facts.test) if champion else None,
        "selective": selective_table(champion, facts.test) if champion else None,
    }
