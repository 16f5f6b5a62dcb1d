"""Files are collected while trials run, are lost, go on and are promoted: what somebody needs is never deleted."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from models.bundle import load_bundle
from models.training.checkpoint import read_history
from models.training.metrics import EpochMetrics
from search import names
from search.stage.pinning import pin_confirmation
from search.store.claims import Claim, Result, finish
from search.store.reaping import MAX_LOSSES
from search.store.storage import open_storage
from search.trials.artifacts import SharedFolder
from search.trials.interruption import WorkerStopped
from search.trials.trial_context import TrialContext
from search.trials.working_files import remove_leftovers
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm
from tests.chaos.conftest import Print
from tests.chaos.kills import die_while_saving
from tests.chaos.live import LiveStage
from tests.chaos.patience import patiently
from tests.search.conftest import CONFIG, CPU, tiny

MakeStage = Callable[..., LiveStage]
TRIALS = 20
EPOCHS = 3


class Collector(threading.Thread):
    """Collects all the time, over a connection of its own, as another supervisor would."""

    def __init__(self, live: LiveStage) -> None:
        super().__init__(daemon=True)
        self._live = live
        self._stop_asked = threading.Event()
        self.rounds = 0

    def run(self) -> None:
        storage = open_storage(self._live.storage.url, create=False)
        while not self._stop_asked.wait(0.01):
            remove_leftovers(storage, SharedFolder(self._live.home), "tiny")
            self.rounds += 1
        storage.close()

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


def run(live: LiveStage, claim: Claim, digits: WorkloadBuilder, *, stop_after: int = EPOCHS + 1) -> Result | None:
    """Train a claimed trial; None if its worker is gone after some epoch."""

    def on_epoch(claim: Claim, metrics: EpochMetrics, config: object) -> None:
        if metrics.epoch > stop_after:
            raise WorkerStopped

    artifacts = SharedFolder(live.home)
    context = TrialContext(storage=live.storage, workloads=digits, device=CPU, artifacts=artifacts, on_epoch=on_epoch)
    try:
        return live.stage.run(claim, context)
    except WorkerStopped:
        return None


def folder(live: LiveStage, number: int) -> Path:
    return names.trial_folder(live.home, "tiny", live.stage.record.name, number)


def lose(live: LiveStage) -> None:
    live.expire_leases()
    live.reap()


def test_no_checkpoint_is_collected_that_a_trial_goes_on_from(
    live_stage: MakeStage, digits: WorkloadBuilder, figures: Print
) -> None:
    live = live_stage(trials=TRIALS, epochs=EPOCHS, pruner="none")
    collector = Collector(live)
    collector.start()
    chance = random.Random(2)
    for number in range(TRIALS):
        stopped_after = chance.randrange(1, EPOCHS)
        assert run(live, live.stage.claim(), digits, stop_after=stopped_after) is None
        lose(live)
        rounds = collector.rounds
        patiently(lambda rounds=rounds: collector.rounds > rounds + 1, "a collection")  # type: ignore[misc]

        saved = read_history(folder(live, number) / f"0-{names.CHECKPOINT_FILE}")

        assert len(saved) == stopped_after + 1  # It was saved, and not yet written down, when the worker went.
        again = live.stage.claim()
        assert again.number == number
        result = run(live, again, digits)
        assert result is not None and result.outcome == "complete"
        finish(live.storage, again, result)

    patiently(lambda: not live.checkpoints(), "the checkpoints of finished trials to be collected")
    collector.stop()
    figures(f"{TRIALS} trials lost and resumed during {collector.rounds} collections: 0 needed files deleted")


def test_a_finalists_classifier_is_there_when_it_is_promoted(live_stage: MakeStage, digits: WorkloadBuilder) -> None:
    pinned = pin_confirmation(tiny(), Confirm(finalists=1, seeds=2, epochs=1), [CONFIG])
    live = live_stage(pinned=pinned)
    collector = Collector(live)
    collector.start()
    for _ in range(2):
        claim = live.stage.claim()
        result = run(live, claim, digits)
        assert result is not None
        finish(live.storage, claim, result)
    patiently(lambda: not live.checkpoints(), "the checkpoints to be collected")
    collector.stop()

    for number in range(2):
        assert load_bundle(folder(live, number) / names.BUNDLE_FOLDER).classes[0] == "0"


def test_what_a_killed_worker_was_writing_is_collected(live_stage: MakeStage) -> None:
    live = live_stage(trials=1, epochs=EPOCHS, pruner="none")
    live.start_worker(die_while_saving).process.join()
    (half,) = live.checkpoints()
    assert half.suffix == ".part"
    lose(live)
    remove_leftovers(live.storage, SharedFolder(live.home), "tiny")
    for _ in range(MAX_LOSSES):
        live.stage.claim()
        lose(live)
    assert live.states() == {"FAIL": 1}

    remove_leftovers(live.storage, SharedFolder(live.home), "tiny")

    assert live.checkpoints() == []
