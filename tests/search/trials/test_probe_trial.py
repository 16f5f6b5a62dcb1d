"""A trial of a probe stage, on the digits and the smallest backbone."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from models.config import BackboneConfig
from search import names
from search.stage.pinning import pin_search
from search.store.claims import release
from search.store.records import read_epochs
from search.store.storage import Storage
from search.trials import probe_trial
from search.trials.artifacts import SharedFolder
from search.trials.interruption import WorkerStopped
from search.trials.trial_context import TrialContext
from search.trials.workload import WorkloadBuilder
from studies.definition import Confirm, Study
from studies.probe import Probe
from tests.search.conftest import CPU, OpenStage, open_stage

CONFIG = BackboneConfig(image_size=32, flip=0.5, head_width=16, epochs=3, freezing="unfreeze_all")


@pytest.fixture
def context(sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path) -> TrialContext:
    return TrialContext(
        storage=sqlite, workloads=digits, device=CPU, artifacts=SharedFolder(tmp_path), on_epoch=lambda *_: None
    )


def probe_stage(storage: Storage, *backbones: str, images: int = 150, folds: int = 0) -> OpenStage:
    probe = Probe(backbones=backbones, images=images)
    study = Study(
        name="tiny", description="", config=CONFIG, stages=(probe,), confirm=Confirm(seeds=2), folds=folds
    )  # fmt: skip
    return open_stage(storage, pin_search(study, 0, probe, [CONFIG]))


def test_a_backbone_gets_the_accuracy_of_a_linear_classifier(context: TrialContext, sqlite: Storage) -> None:
    stage = probe_stage(sqlite, "mobilenet_v3_small=none")
    claim = stage.claim()
    result = stage.run(claim, context)
    assert (result.outcome, result.value) == ("complete", result.attributes[names.VAL_ACCURACY])
    assert 0.3 < result.value < 1.0  # Random features tell digits apart far better than chance.
    assert result.attributes[names.PROBE]["images"] == 150
    assert result.attributes[names.MACS] == pytest.approx(result.attributes[names.PARAMETERS], rel=1.0)
    assert [epoch.metrics["val_accuracy"] for epoch in read_epochs(sqlite, claim.trial_id)] == [result.value]


def test_the_configuration_that_it_hands_on_is_the_studys(context: TrialContext, sqlite: Storage) -> None:
    stage = probe_stage(sqlite, "mobilenet_v3_small=none")
    config = stage.run(stage.claim(), context).attributes[names.CONFIG]
    assert (config["freezing"], config["head_width"], config["flip"]) == ("unfreeze_all", 16, 0.5)
    assert (config["backbone"], config["weights"]) == ("mobilenet_v3_small", "none")


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        ("mobilenet_v3_small=nowhere.pt", "nowhere.pt: cannot be read"),
        ("timm/no_such_network=none", "unknown backbone 'timm/no_such_network'"),
    ],
)
def test_a_backbone_that_cannot_be_had_is_left_out_with_the_reason(
    backbone: str, reason: str, context: TrialContext, sqlite: Storage
) -> None:
    stage = probe_stage(sqlite, backbone)
    result = stage.run(stage.claim(), context)
    assert result.outcome == "pruned" and result.attributes[names.INFEASIBLE]
    assert reason in result.attributes[names.REASON]


def test_a_backbone_that_memory_cannot_hold_is_left_out(
    context: TrialContext, sqlite: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Free:
        available = 2**20

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    stage = probe_stage(sqlite, "mobilenet_v3_small=none")
    reason = stage.run(stage.claim(), context).attributes[names.REASON]
    assert reason == "mobilenet_v3_small needs 23 MiB to be loaded; 1 MiB are free"


def test_a_trial_that_was_lost_gives_the_same_result(
    context: TrialContext, sqlite: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = probe_stage(sqlite, "mobilenet_v3_small=none", "mobilenet_v3_small")
    lost = stage.claim()

    def stop(*_: object, **__: object) -> None:
        raise WorkerStopped

    with monkeypatch.context() as patch:
        patch.setattr(probe_trial, "fit_probes", stop)
        with pytest.raises(WorkerStopped):
            stage.run(lost, context)
    release(sqlite, lost)
    again = stage.claim()
    assert again.number == lost.number
    first = stage.run(again, context)
    torch.manual_seed(123)
    assert stage.run(again, context).value == first.value
    assert len(read_epochs(sqlite, again.trial_id)) == 1


def test_with_folds_the_value_is_their_mean(context: TrialContext, sqlite: Storage) -> None:
    stage = probe_stage(sqlite, "mobilenet_v3_small=none", folds=2)
    claim = stage.claim()
    result = stage.run(claim, context)
    values = [epoch.metrics["val_accuracy"] for epoch in read_epochs(sqlite, claim.trial_id)]
    assert len(values) == 2 and result.value == pytest.approx(sum(values) / 2)
