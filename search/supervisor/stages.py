"""The supervisor's work: pin a stage, fill its queue, wait for it, close it, hand its best on to the next."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from data.errors import SieveError
from models.config import TrainConfig
from search import names
from search.stage.bases import best_configs
from search.stage.budget import Budget, describe_confirmation, describe_fit
from search.stage.feasibility import feasible_on
from search.stage.pinned import PinnedStage
from search.stage.pinning import pin_ablation, pin_confirmation, pin_search
from search.stage.snapshot import stage_trials
from search.stage.warm_start import warm_parameters
from search.store.claims import Result, claim_next, finish
from search.store.optuna_private import study_database_id
from search.store.processes import process_name
from search.store.reaping import reap
from search.store.records import StageRecord, pin_stage, read_stages, read_study, update_stage
from search.store.storage import Storage
from search.supervisor.launch import Launcher
from studies.definition import Ablation, Stage, Study

POLL_S = 0.25
SAME_FAILURES = 5
"""A search whose first so many trials all fail is stopped: the fault is not in the configurations."""


class Interrupted(KeyboardInterrupt):
    """The user asked the supervisor to stop; all workers have ended and the same command goes on."""


class StageRunner:
    """Runs a study's stages one after another. `is_interrupted` is asked often.

    `on_tick` is called often, and before anything is pinned: it shows progress, and raises what ends the supervisor.
    `say` is told what the time budget made of a stage.
    """

    def __init__(
        self,
        storage: Storage,
        study: Study,
        launcher: Launcher,
        budget: Budget,
        *,
        is_interrupted: Callable[[], bool],
        on_tick: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._study = study
        self._launcher = launcher
        self._budget = budget
        self._is_interrupted = is_interrupted
        self._on_tick = on_tick
        self._say = say

    def run_all(self) -> StageRecord:
        """Run every stage that is not closed yet, then the confirmation or ablation; returns the last one's record."""
        bases: list[TrainConfig] = [self._study.config]
        best: list[tuple[FrozenTrial, TrainConfig]] = []
        for position, stage in enumerate(self._study.stages):
            record = self._run(position, partial(self._pin, position, stage, bases))
            following = self._study.stages[position + 1 :]
            wanted = following[0].bases if following else self._study.confirm.finalists
            best = self._best(record, wanted)
            bases = [config for _, config in best]
        if self._study.ablation is not None:
            return self._run(len(self._study.stages), partial(self._pin_ablation, self._study.ablation, bases[0]))
        return self._run(len(self._study.stages), partial(self._pin_confirmation, best))

    def _pin(self, position: int, stage: Stage, bases: Sequence[TrainConfig]) -> PinnedStage:
        fitted = self._budget.fit_stage(position, stage)
        if fitted != stage:
            self._say(f"{stage.name}: {describe_fit(stage, fitted)} fit into its share of the time budget")
        record = read_study(self._storage, self._study.name)
        assert record is not None
        taken = warm_parameters(record) if position == 0 else ()
        is_feasible = feasible_on(record.data)
        return pin_search(self._study, position, fitted, bases, taken, is_feasible=is_feasible)

    def _pin_confirmation(self, best: Sequence[tuple[FrozenTrial, TrainConfig]]) -> PinnedStage:
        epoch_s = [trial.user_attrs[names.EPOCH_S] for trial, _ in best]
        most = max(config.epochs for _, config in best)
        confirm = self._budget.fit_confirmation(most, epoch_s)
        wanted = replace(self._study.confirm, finalists=min(self._study.confirm.finalists, len(best)))
        if (confirm.finalists, confirm.seeds, confirm.epochs or most) < (
            wanted.finalists,
            wanted.seeds,
            wanted.epochs or most,
        ):
            self._say(
                f"{confirm.name}: {describe_confirmation(confirm, most)} fit into what is left of the time budget"
            )
        return pin_confirmation(self._study, confirm, [config for _, config in best[: confirm.finalists]])

    def _pin_ablation(self, ablation: Ablation, base: TrainConfig) -> PinnedStage:
        fitted = self._budget.fit_ablation(ablation)
        if fitted != ablation:
            self._say(f"{ablation.name}: {fitted.seeds} seeds of {fitted.epochs} epochs fit into the time budget")
        return pin_ablation(self._study, fitted, base)

    def _run(self, position: int, pin: Callable[[], PinnedStage]) -> StageRecord:
        record = self._pinned(position, pin)
        if record.state == "closed":
            return record
        record = replace(record, deadline=self._budget.stage_deadline(position))
        update_stage(self._storage, record, deadline=record.deadline)
        self._wait(record)
        update_stage(self._storage, record, state="closed")
        return record

    def _pinned(self, position: int, pin: Callable[[], PinnedStage]) -> StageRecord:
        """The stage's record, pinned now if no earlier run did; its queue filled, even if a crash left it half full."""
        self._on_tick()
        known = {record.position: record for record in read_stages(self._storage, self._study.name)}
        if position not in known:
            pinned = pin()
            known[position] = StageRecord(
                study=self._study.name,
                position=position,
                name=pinned.name,
                optuna_study=names.optuna_study(self._study.name, position, pinned.name),
                pinned=pinned.to_json(),
                state="filling",
                opened_at=time.time(),
                deadline=None,
            )
            pin_stage(self._storage, known[position])
        record = known[position]
        if record.state == "filling":
            fill_queue(self._storage, record)
            update_stage(self._storage, record, state="open")
            record = replace(record, state="open")
        return record

    def _wait(self, record: StageRecord) -> None:
        deadline = record.deadline
        while True:
            trials = stage_trials(self._storage, record)
            unfinished = [trial for trial in trials if not trial.state.is_finished()]
            if not unfinished:
                return
            self._stop_if_hopeless(record, trials)
            if deadline is not None and time.time() > deadline:
                has_result = any(trial.state == TrialState.COMPLETE for trial in trials)
                if has_result and _all_waiting(unfinished):
                    self._skip_waiting(record)
                    continue
                until = deadline if has_result else None  # Without a result to hand on, the stage stays open.
                if record.deadline != until and (has_result or _all_waiting(unfinished)):
                    record = replace(record, deadline=until)
                    update_stage(self._storage, record, deadline=record.deadline)
            self._launcher.tend()
            reap(self._storage, [record.optuna_study])
            self._on_tick()
            if self._is_interrupted() and self._launcher.alive() == 0:
                raise Interrupted
            time.sleep(POLL_S)

    def _skip_waiting(self, record: StageRecord) -> None:
        """Tell what time did not allow, so that nothing is left waiting."""
        while (claim := claim_next(self._storage, record.optuna_study, process_name())) is not None:
            reason = "the time budget was used up before its turn"
            finish(
                self._storage, claim, Result(outcome="failed", attributes={names.SKIPPED: True, names.REASON: reason})
            )

    def _stop_if_hopeless(self, record: StageRecord, trials: Sequence[FrozenTrial]) -> None:
        finished = [trial for trial in trials if trial.state.is_finished()]
        if len(finished) < min(SAME_FAILURES, len(trials)) or any(t.state != TrialState.FAIL for t in finished):
            return
        raise SieveError(
            f"{record.optuna_study}: the first {len(finished)} trials all failed; {_most_common_reason(finished)}; "
            "mend it and start again with --name NEW"
        )

    def _best(self, record: StageRecord, count: int) -> list[tuple[FrozenTrial, TrainConfig]]:
        trials = stage_trials(self._storage, record)
        maximize = self._study.direction == "maximize"
        best = best_configs(trials, count, maximize=maximize, against=record.pinned.get("against"))
        if not best:
            raise SieveError(
                f"{record.optuna_study}: none of its {len(trials)} trials completed; {_most_common_reason(trials)}"
            )
        return best


def fill_queue(storage: Storage, record: StageRecord) -> None:
    """One waiting trial for each slot of the budget that has none yet. Only the supervisor may call this."""
    pinned = PinnedStage.from_json(record.pinned)
    study = optuna.create_study(
        study_name=record.optuna_study, storage=storage.trials, direction=pinned.direction, load_if_exists=True
    )
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.set_metric_names([pinned.metric])  # So that the dashboard's axes say what they show.
    storage.trials.fill_queue(study_database_id(study), pinned.queue[: pinned.trials])


def _all_waiting(trials: Sequence[FrozenTrial]) -> bool:
    return all(trial.state == TrialState.WAITING for trial in trials)


def _most_common_reason(trials: Sequence[FrozenTrial]) -> str:
    reasons = Counter(str(trial.user_attrs.get(names.REASON, "no reason told")).splitlines()[-1] for trial in trials)
    reason, count = reasons.most_common(1)[0]
    return f"most often ({count}): {reason}"
