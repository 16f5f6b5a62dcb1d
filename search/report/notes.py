"""A short summary of each stage, saved as the note that optuna-dashboard shows for its Optuna study."""

from __future__ import annotations

from optuna_dashboard import get_note, save_note

from search.command_line import command_line
from search.names import watch_url
from search.report.facts import StageFacts, StudyFacts
from search.report.metric import Metric, plural
from search.settings import Settings
from search.store.storage import Storage


def leave_notes(settings: Settings, storage: Storage, facts: StudyFacts) -> None:
    """Save every stage's note, unless it is unchanged."""
    for stage in facts.all_stages:
        if stage.trials.empty:
            continue
        optuna_study = storage.load_study(stage.record.optuna_study)
        note = stage_note(settings, stage, facts)
        if get_note(optuna_study) != note:
            save_note(optuna_study, note)


def stage_note(settings: Settings, stage: StageFacts, facts: StudyFacts) -> str:
    """A stage's note as Markdown: its study, its trials by state, its best run and, at the end, the champion."""
    snapshot, metric, pinned = stage.snapshot, facts.metric, stage.pinned
    lines = [
        f"### {facts.record.name}: {stage.name}",
        facts.record.definition.description,
        f"- {plural(snapshot.planned, 'trial')}: {snapshot.complete} complete, {snapshot.pruned} pruned, "
        f"{snapshot.out_of_time} out of time, {snapshot.infeasible} infeasible, {snapshot.failed} failed",
        f"- {metric.best_label}: {_best(stage, metric)}",
        f"- {pinned.sampler} sampler, {pinned.pruner} pruner, {plural(pinned.epochs, 'epoch')}",
    ]
    if pinned.early_end:
        lines.append(f"- {pinned.early_end.line()}")
    if pinned.is_final and facts.finalists:
        champion, kind = facts.finalists[0], "cell" if pinned.cells else "finalist"
        lines.append(
            f"- champion: {kind} {champion.index + 1}, mean {metric.show(champion.mean)} over "
            f"{plural(len(champion.values), 'seed')}"
        )
    name = facts.record.name
    live, report = (command_line(settings, command, "--study", name) for command in ("watch", "report"))
    lines.append(f"\n[Live page]({watch_url(name)}), served by `{live}`")
    lines.append(f"\nFull report: `{report}`")
    return "\n".join(lines)


def _best(stage: StageFacts, metric: Metric) -> str:
    if stage.snapshot.best is None:
        return "none yet"
    return f"#{stage.snapshot.best_trial} with {metric.label} {metric.show(stage.snapshot.best)}"
