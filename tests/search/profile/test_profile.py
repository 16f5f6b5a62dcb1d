"""Laps add up to the trial that they divide, and change nothing in it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from torch import Tensor, nn

from data.errors import UserError
from data.spec import DataSpec
from models.config import FlexCNNConfig
from models.training.finetuned import WeightedLogits
from search import names
from search.cli import command_parser
from search.profile.__main__ import COMPONENTS, find_subject
from search.profile.laps import Laps, TimedTrialRun, TimedWorkloadBuilder, timing_optimizers
from search.stage.describe import describe_data, describe_study
from search.stage.pinning import pin_search
from search.stage.samplers import make_pruner, make_sampler
from search.store.claims import finish
from search.store.records import create_study, read_epochs, update_study
from search.store.storage import Storage
from search.supervisor.arguments import add_study_arguments
from search.trials.artifacts import SharedFolder
from search.trials.run_trial import run_trial
from search.trials.trial_context import TrialContext
from search.trials.workload import Workload, WorkloadBuilder
from tests.search.conftest import CPU, OpenStage, open_stage, settings_at, tiny


def _context(storage: Storage, workloads: object, home: Path) -> TrialContext:
    on_epoch = lambda claim, metrics, config: None  # noqa: E731
    return TrialContext(
        storage=storage,
        workloads=cast(WorkloadBuilder, workloads),
        device=CPU,
        artifacts=SharedFolder(home),
        on_epoch=on_epoch,
    )


def _run_timed(stage: OpenStage, context: TrialContext, laps: Laps) -> int:
    claim = stage.claim()
    sampler, pruner = make_sampler(stage.pinned), make_pruner(stage.pinned)
    study = stage.storage.load_study(stage.record.optuna_study, sampler=sampler, pruner=pruner)
    trial = stage.storage.open_trial(study, claim.trial_id)
    with timing_optimizers(laps):
        result = run_trial(TimedTrialRun(trial=trial, claim=claim, stage=stage.pinned, context=context, laps=laps))
    assert result.outcome == "complete", result.attributes
    finish(stage.storage, claim, result)
    return claim.trial_id


def test_laps_add_up_to_the_whole_and_leave_the_trial_as_it_is(
    sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path
) -> None:
    study = tiny(epochs=2, trials=1, space={}, values={"ema_decay": 0.9, "dropout": 0.1})
    pinned = pin_search(study, 0, study.stages[0], [study.config])
    plain = open_stage(sqlite, replace(pinned, name="plain"), position=0)
    claim = plain.claim()
    plain.run(claim, _context(sqlite, digits, tmp_path))

    stage = open_stage(sqlite, replace(pinned, name="timed"), position=1)
    started, laps = time.perf_counter(), Laps(CPU)
    workloads = TimedWorkloadBuilder(digits, laps)
    timed = _run_timed(stage, _context(sqlite, workloads, tmp_path), laps)
    elapsed, totals = time.perf_counter() - started, laps.totals_s()

    assert totals.keys() == {"open the data", "build the network", "first step", *COMPONENTS} - {"tracking"}
    assert 0 < sum(totals.values()) <= elapsed and min(totals.values()) > 0
    assert workloads.images == (2 * 4 - 1) * 256  # Every step but the first.
    own = ("duration_s", "images_per_s", "memory_mib")
    epochs = [
        [{key: value for key, value in row.metrics.items() if key not in own} for row in read_epochs(sqlite, trial_id)]
        for trial_id in (claim.trial_id, timed)
    ]
    assert epochs[0] == epochs[1] and len(epochs[0]) == 2


class _PartlyFrozen(nn.Module):
    """A network with a training forward pass of its own, as fine-tuned ones have it."""

    def begin_epoch(self, epoch: int) -> None: ...

    def training_logits(self, images_NCHW: Tensor) -> list[WeightedLogits]:
        return [WeightedLogits(1.0, images_NCHW)]

    def rate_multipliers(self) -> dict[nn.Parameter, float]:
        return {}


def test_a_fine_tuned_network_s_own_forward_pass_is_timed_too() -> None:
    model, laps = _PartlyFrozen(), Laps(CPU)
    work = Workload(model=model, learning=model, train=None, val=None, preprocessing=None)  # type: ignore[arg-type]
    workloads = argparse.Namespace(prepare=lambda config, data, seed: work)
    TimedWorkloadBuilder(cast(WorkloadBuilder, workloads), laps).prepare(None, None, 0)  # type: ignore[arg-type]
    model.training_logits(cast(Tensor, None))
    assert list(laps.totals_s()) == ["build the network", "forward"]


def _typed(study: str, *options: str) -> argparse.Namespace:
    parser = command_parser("search.profile", None)
    add_study_arguments(parser)
    parser.add_argument("--trial", default="start")
    parser.add_argument("--epochs", type=int, default=1)
    return parser.parse_args(["--study", study, *options])


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--trial", "one/0"], "no studies at"),
        (["--trial", "champion", "--data", "digits"], "no studies at"),
        (["--set", "filter=3"], "Did you mean 'filters'"),
    ],
)
def test_a_trial_that_cannot_be_profiled_is_a_one_line_error_and_nothing_is_written(
    typed: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        find_subject(_typed("quickstart", *typed), settings_at(tmp_path))
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_measures_every_component_and_leaves_only_decoded_images(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "search.profile", "--study", "quickstart", "--epochs", "1", "--json"]
    ended = subprocess.run([*command, "--home", str(tmp_path)], capture_output=True, check=True)
    result = json.loads(ended.stdout)
    assert tuple(result["epochs_s"]) == COMPONENTS and min(result["epochs_s"].values()) > 0
    assert min(result["start_up_s"].values()) > 0 and result["images_per_s"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_trial_that_was_run_and_the_champion_are_found_by_name(
    sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path
) -> None:
    study = tiny(trials=1, values={"filters": 8})
    data = describe_data(DataSpec(source="digits"), digits.open_data(study.config).search)
    create_study(sqlite, study.name, definition=describe_study(study), data=data)
    stage = open_stage(sqlite, trials=1, values={"filters": 8})
    claim = stage.claim()
    result = stage.run(claim, _context(sqlite, digits, tmp_path))
    finish(sqlite, claim, result)
    update_study(sqlite, study.name, champion={"config": {**result.attributes[names.CONFIG], "filters": 16}})

    for trial, filters in (("one/0", 8), ("one-0", 8), ("one #0", 8), ("champion", 16)):
        subject = find_subject(_typed("tiny", "--trial", trial, "--set", "batch_size=7"), settings_at(tmp_path))
        assert isinstance(subject.config, FlexCNNConfig)
        assert (subject.config.filters, subject.config.batch_size, subject.config.epochs) == (filters, 7, 1)
        assert subject.spec == DataSpec(source="digits")
    for trial in ("one/1", "two/0", "one", "one/-0"):
        with pytest.raises(UserError, match="--trial"):
            find_subject(_typed("tiny", "--trial", trial), settings_at(tmp_path))
