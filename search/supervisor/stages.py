"""Runs a study's stages in order: pin a stage, fill its queue, wait for its trials, close it, pass on its best.

`pin_stages` decides what a stage consists of, `stage_queue` adds its waiting trials, `wait_for_stage` waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from optuna.trial import FrozenTrial

from data.errors import SieveError
from models.config import TrainConfig
from search import names
from search.stage.bases import handed_on
from search.stage.budget import Budget
from search.stage.extending import is_extended, pool_end, pools
from search.stage.shortlist import probe_lines
from search.stage.snapshot import stage_trials
from search.store.pinned_stage import PinnedStage
from search.store.records import StageRecord, pin_stage, read_stages, update_stage, update_stages
from search.store.storage import Storage
from search.supervisor.launch import Launcher
from search.supervisor.pin_stages import StagePinner
from search.supervisor.stage_queue import fill_queue
from search.supervisor.wait_for_stage import StageWait, most_common_reason
from search.text import plural
from search.timing import DEFAULT_TIMING, Timing
from studies.definition import Study


class StageRunner:
    """Runs a study from its first open stage to the end of its confirmation or ablation."""

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
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        """`is_interrupted`: whether the user asked to stop; called several times a second.

        `on_tick` is called as often, and before a stage is pinned: it shows progress, and raises an error that
        has to end the supervisor. `say` prints a line about what the time budget cut, what a probe chose, and a stage
        that ends early.
        """
        self._storage = storage
        self._study = study
        self._budget = budget
        self._say = say
        self._on_tick = on_tick
        self._deadlines: dict[int, float | None] = {}
        """When each pool of stages must end, by the position of its last one."""
        self._pinner = StagePinner(storage, study, budget, say)
        self._wait = StageWait(
            storage, launcher, is_interrupted=is_interrupted, on_tick=on_tick, say=say, timing=timing
        )

    def run_all(self) -> StageRecord:
        """Run every stage that is not closed yet, then the confirmation or ablation; returns the record of the latter.

        Raises SieveError if a stage has nothing to pass on, and Interrupted if the user stopped the run.
        """
        study, pinner = self._study, self._pinner
        bases: list[TrainConfig] = [study.config]
        best: list[tuple[FrozenTrial, TrainConfig]] = []
        for position, stage in enumerate(study.stages):
            pool = self._run(position, partial(pinner.pin_search, position, stage, bases))
            if is_extended(study, position):
                continue  # The next stage has the same bases.
            following = study.stages[position + 1 :]
            wanted = following[0].bases if following else study.confirm.finalists
            best = self._best(pool, wanted)
            if pool[-1].pinned.is_probe:
                for line in probe_lines(pool[-1].pinned, stage_trials(self._storage, pool[-1]), wanted):
                    self._say(line)
            bases = [config for _, config in best]
        if study.ablation is not None:
            return self._run(len(study.stages), partial(pinner.pin_ablation, study.ablation, bases[0]))[-1]
        self._budget.expect_finalists(bases)
        return self._run(len(study.stages), partial(pinner.pin_confirmation, best))[-1]

    def _run(self, position: int, pin: Callable[[], PinnedStage]) -> list[StageRecord]:
        """Run a stage to its end; returns the records of the stages that it extends and, last, its own.

        If the next stage extends it, it stays open, and is over as soon as all its trials have begun.
        """
        record = self._pinned(position, pin)
        pool = self._pool(record)
        if record.state == "closed":
            return pool
        is_first_part = record.pinned.is_extended
        if is_first_part and self._is_pinned(position + 1):
            return pool
        deadline = self._pool_deadline(position)
        pool = [replace(member, deadline=deadline) for member in pool]
        update_stages(self._storage, pool, deadline=deadline)
        if is_first_part:
            self._wait.until_begun(pool, self._budget.stage_deadline(position))
            return pool
        pool = list(self._wait.until_ended(pool))
        update_stages(self._storage, pool, state="closed")
        return pool

    def _pool(self, record: StageRecord) -> list[StageRecord]:
        """The stages that a stage extends, and the stage."""
        known = [stage for stage in read_stages(self._storage, self._study.name) if stage.position <= record.position]
        return [*pools(known)[-1][:-1], record]

    def _pool_deadline(self, position: int) -> float | None:
        """When the stages that share their trials with this one must end; the same for all of them in one run."""
        last = pool_end(self._study, position)
        if last not in self._deadlines:
            self._deadlines[last] = self._budget.stage_deadline(position, last)
        return self._deadlines[last]

    def _is_pinned(self, position: int) -> bool:
        return any(record.position == position for record in read_stages(self._storage, self._study.name))

    def _pinned(self, position: int, pin: Callable[[], PinnedStage]) -> StageRecord:
        """The stage's record. Pins the stage and fills its queue, as far as an earlier run has not done so."""
        self._on_tick()
        known = {record.position: record for record in read_stages(self._storage, self._study.name)}
        if position not in known:
            pinned = pin()
            known[position] = StageRecord(
                study=self._study.name,
                position=position,
                name=pinned.name,
                optuna_study=names.optuna_study(self._study.name, position, pinned.name),
                pinned=pinned,
                state="filling",
                opened_at=time.time(),
                deadline=None,
            )
            pin_stage(self._storage, known[position])
        record = known[position]
        if record.state != "closed":
            fill_queue(self._storage, record)  # Also where a crash came between more trials and their queue.
        if record.state == "filling":
            update_stage(self._storage, record, state="open")
            record = replace(record, state="open")
        return record

    def _best(self, pool: Sequence[StageRecord], count: int) -> list[tuple[FrozenTrial, TrainConfig]]:
        trials = [trial for record in pool for trial in stage_trials(self._storage, record)]
        best = handed_on(pool[-1].pinned, trials, count)
        if not best:
            raise SieveError(
                f"{pool[-1].optuna_study}: none of its {plural(len(trials), 'trial')} completed; "
                f"{most_common_reason(trials)}"
            )
        return best
