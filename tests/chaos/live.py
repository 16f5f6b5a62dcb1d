"""A stage without a supervisor: the test looks after it, real workers run it, forked so that they start at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from sqlalchemy import Row, select, update

from search import names
from search.stage.snapshot import stage_trials
from search.store.claims import Claim, claim_next
from search.store.find import find_study
from search.store.processes import process_name
from search.store.reaping import reap
from search.store.records import create_study, read_epochs, update_study
from search.store.storage import open_storage
from search.store.study_definition import StudyDefinition
from search.store.tables import leases
from search.trials.artifacts import SharedFolder
from tests.acceptance.forks import Fault, Forked
from tests.search.conftest import DATA, open_stage


class LiveStage:
    """The tiny study's stage, open, in a home of its own."""

    def __init__(self, home: Path, storage_url: str, **changes: Any) -> None:
        self.home = home
        self._folder = home.parent
        self._url = storage_url
        self.storage = open_storage(storage_url, create=True)
        create_study(self.storage, "tiny", definition=StudyDefinition(), data=DATA)
        SharedFolder(home).announce(find_study(self.storage, "tiny"))
        self.stage = open_stage(self.storage, **changes)
        self.workers: list[Forked] = []

    def start_worker(self, fault: Fault | None = None) -> Forked:
        """`search.worker`, which works until the study is done."""
        arguments = ["--study", "tiny", "--home", str(self.home), "--storage", self._url]
        folder = self._folder / f"{self.home.name}-worker-{len(self.workers)}"
        self.workers.append(Forked("search.worker", arguments, folder, fault))
        return self.workers[-1]

    def end_study(self) -> None:
        """Workers see it and end."""
        update_study(self.storage, "tiny", state="done")

    def reap(self) -> list[int]:
        """What a supervisor does four times a second."""
        return reap(self.storage, [self.stage.record.optuna_study])

    def trials(self) -> list[FrozenTrial]:
        return stage_trials(self.storage, self.stage.record)

    def states(self) -> Counter[str]:
        return Counter(trial.state.name for trial in self.trials())

    def epochs(self, trial_id: int) -> list[Row[Any]]:
        return read_epochs(self.storage, trial_id)

    def leases(self) -> list[Row[Any]]:
        with self.storage.engine.begin() as connection:
            return list(connection.execute(select(leases)))

    def expire_leases(self) -> None:
        """Let the time pass after which a silent worker has lost its trial."""
        with self.storage.engine.begin() as connection:
            connection.execute(update(leases).values(expires_at=1.0))

    def claim(self) -> Claim | None:
        return claim_next(self.storage, self.stage.record.optuna_study, process_name())

    def checkpoints(self) -> list[Path]:
        return sorted(self.home.rglob(f"*{names.CHECKPOINT_FILE}*"))

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.storage.close()
