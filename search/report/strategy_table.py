"""Training from scratch compared with each fine-tuning strategy: best value, time, and number of trained parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial

from search import names
from search.report.facts import StudyFacts
from search.report.metric import show_time
from search.report.table import Cell, Table
from search.stage.snapshot import rank_trials


def strategy_of(config: Mapping[str, Any]) -> str:
    """A short name for how a configuration uses pre-trained weights."""
    if config.get("weights", "none") == "none":
        return "from scratch"
    freezing = str(config["freezing"])
    detail = {
        "freeze_partial": f", the last {config['trainable_children']} children trained",
        "freeze_first": f", the first {config['frozen_children']} children frozen",
    }.get(freezing, "")
    norms = ", batch norms trained" if config["train_batch_norm"] and freezing != "unfreeze_all" else ""
    return f"{freezing}{detail}{norms}"


def strategy_table(facts: StudyFacts) -> Table | None:
    """A row for each strategy with its best complete trial; None for a study with fewer than two strategies."""
    by_strategy: dict[str, list[FrozenTrial]] = {}
    for stage in (stage for stage in facts.stages if not stage.pinned.is_probe):
        for trial in rank_trials(stage.optuna_trials, maximize=facts.metric.maximize):
            by_strategy.setdefault(strategy_of(trial.user_attrs[names.CONFIG]), []).append(trial)
    if len(by_strategy) < 2:
        return None
    bests = {name: rank_trials(trials, maximize=facts.metric.maximize)[0] for name, trials in by_strategy.items()}
    rows = [
        (
            Cell(text=name, key=name),
            Cell(text=str(len(by_strategy[name])), key=float(len(by_strategy[name]))),
            Cell(text=facts.metric.show(best.value), key=float(best.value or 0.0)),
            Cell(text=show_time(best.user_attrs[names.DURATION_S]), key=float(best.user_attrs[names.DURATION_S])),
            _learning(best.user_attrs),
        )
        for name, best in sorted(bests.items(), key=lambda entry: entry[1].value or 0.0, reverse=facts.metric.maximize)
    ]
    return Table(
        caption=(
            "The best complete trial of each strategy over all search stages, which differ in epochs; each is "
            f"{facts.metric.trial_value}. The features of a frozen network are computed once, during the first trial "
            "that needs them."
        ),
        headings=("strategy", "trials", f"best {facts.metric.label}", "time of that trial", "trained parameters"),
        rows=tuple(rows),
        sorts=True,
    )


def _learning(attributes: Mapping[str, Any]) -> Cell:
    learning, total = attributes[names.LEARNING_PARAMETERS], attributes[names.PARAMETERS]
    return Cell(text=f"{learning:,} ({learning / total:.1%})", key=float(learning))
