"""A worker in this process, and the trials that wait for it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.store.records import create_study, read_study
from search.store.storage import Storage
from search.store.study_definition import StudyDefinition
from search.timing import Timing
from search.trials.worker import Worker
from tests.search.conftest import CPU, DATA, OpenStage, open_stage, settings_at

MakeWorker = Callable[[Timing], Worker]


@pytest.fixture
def stage(sqlite: Storage) -> OpenStage:
    """Three trials of an epoch each, of a study that runs."""
    create_study(sqlite, "tiny", definition=StudyDefinition(), data=DATA)
    return open_stage(sqlite, trials=3, epochs=1)


@pytest.fixture
def make_worker(stage: OpenStage, tmp_path: Path) -> Iterator[MakeWorker]:
    kinds = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    before = {kind: signal.getsignal(kind) for kind in kinds}
    record = read_study(stage.storage, "tiny")
    assert record is not None
    yield lambda timing: Worker(settings_at(tmp_path), stage.storage, record, CPU, timing=timing)
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.fixture
def worker(make_worker: MakeWorker) -> Worker:
    return make_worker(Timing())
