from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import load_bundle, save_bundle
from models.calibration import UNCALIBRATED, calibrate
from models.combined import Ensemble
from models.training.fit import fit
from models.values import to_flat, with_values
from search import names
from search.store.champion_record import ChampionRecord
from search.store.combination_record import CombinationRecord
from search.supervisor import candidates
from search.supervisor import combine as module
from search.supervisor.candidates import Candidate, FinishedRun
from search.supervisor.combine import combine
from search.trials.validation_predictions import ValidationPredictions, read_predictions, save_predictions
from search.trials.workload import WorkloadBuilder
from studies.definition import Combine, Confirm
from tests.search.conftest import CONFIG, CPU

CONFIRM = Confirm(finalists=1, seeds=3, combine="soup")
TRAINED = with_values(CONFIG, {"epochs": 6, "learning_rate": 1e-2, "batch_size": 64})


@pytest.fixture(scope="module")
def runs(digits: WorkloadBuilder, tmp_path_factory: pytest.TempPathFactory) -> list[FinishedRun]:
    """Three runs that lie around a good network, so that their soup is better than each of them."""
    data = digits.open_data(TRAINED)
    work = digits.prepare(TRAINED, data, 0)
    for _ in fit(work.learning, work.train, work.val, TRAINED, classes=10, device=CPU, seed=0):
        pass
    good = {name: tensor.clone() for name, tensor in work.model.state_dict().items()}
    torch.manual_seed(1)
    steps = {
        name: 0.5 * t.std() * torch.randn_like(t) for name, t in good.items() if name.endswith("weight") and t.ndim > 1
    }
    found = []
    for trial, direction in enumerate((1.0, -0.5, -0.5)):
        moved = {name: tensor + direction * steps.get(name, 0 * tensor) for name, tensor in good.items()}
        work.model.load_state_dict(moved)
        folder = tmp_path_factory.mktemp("runs") / f"{trial}"
        save_bundle(
            folder, work.model, TRAINED, classes=data.search.classes, input_shape=data.input_shape,
            mean=work.preprocessing.mean, std=work.preprocessing.std,
        )  # fmt: skip
        found.append(FinishedRun(trial=trial, value=_accuracy(digits, folder), folder=folder))
    return found


def _accuracy(digits: WorkloadBuilder, folder: Path) -> float:
    val = digits.open_data(TRAINED).search.val
    answers = load_bundle(folder).predict_proba(val.pool_NHWC[val.rows_M]).argmax(axis=1)
    return float(np.mean(answers == val.labels_M))


def champion_of(runs: Sequence[FinishedRun], values: Sequence[float]) -> ChampionRecord:
    best = max(runs, key=lambda run: run.value)
    return ChampionRecord(trial=best.trial, config=dict(to_flat(TRAINED)), values=tuple(values))


def attempt(
    digits: WorkloadBuilder,
    runs: Sequence[FinishedRun],
    folder: Path,
    confirm: Confirm,
    values: Sequence[float] = (0.5, 0.5),
) -> CombinationRecord:
    return combine(digits, champion_of(runs, values), runs, confirm, folder, CPU)


@pytest.mark.parametrize("kind", ["soup", "ensemble"])
def test_a_combination_that_beats_the_best_run_is_kept_and_its_bundle_has_the_value_recorded(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path, kind
) -> None:
    record = attempt(digits, runs, tmp_path, Confirm(seeds=3, combine=kind))
    assert record.kind == kind and len(record.trials) > 1
    assert record.values["single"] == pytest.approx(max(run.value for run in runs))
    assert record.values[kind] > record.values["single"] + record.noise
    assert _accuracy(digits, tmp_path / "classifier") == pytest.approx(record.values[kind])
    assert record.passes == (1 if kind == "soup" else len(record.trials))
    assert isinstance(load_bundle(tmp_path / "classifier").model, Ensemble) == (kind == "ensemble")
    assert CombinationRecord.from_json(record.to_json()) == record
    assert f"{kind} of {len(record.trials)} runs" in record.line()
    predictions = read_predictions(tmp_path)
    assert predictions is not None
    expected = calibrate(predictions.probabilities_MC, predictions.labels_M)
    assert load_bundle(tmp_path / "classifier").calibration == expected != UNCALIBRATED


def test_an_ensemble_needs_no_forward_pass_if_the_predictions_of_its_runs_are_saved(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm = Confirm(seeds=3, combine="ensemble")
    expected = attempt(digits, runs, tmp_path / "first", confirm)
    copies = []
    val = digits.open_data(TRAINED).search.val
    for run in runs:
        copy = replace(run, folder=tmp_path / f"{run.trial}" / "classifier")
        shutil.copytree(run.folder, copy.folder)
        probabilities_MC = load_bundle(run.folder).predict_proba(val.pool_NHWC[val.rows_M])
        save_predictions(
            copy.folder.parent,
            ValidationPredictions(labels_M=val.labels_M, probabilities_MC=probabilities_MC.astype(np.float32)),
        )
        copies.append(copy)
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "predict", None)
        record = attempt(digits, copies, tmp_path / "second", confirm)
    assert record.trials == expected.trials and record.values == pytest.approx(expected.values)


@pytest.mark.parametrize("kept", [b"", b"PK\x03\x04 cut"])
def test_predictions_in_a_file_that_was_cut_count_as_lost(kept: bytes, tmp_path: Path) -> None:
    labels_M, probabilities_MC = np.arange(2), np.eye(2, dtype=np.float32)
    save_predictions(tmp_path, ValidationPredictions(labels_M=labels_M, probabilities_MC=probabilities_MC))
    assert read_predictions(tmp_path) is not None
    (file,) = (tmp_path / names.PREDICTIONS_FILE).parent.iterdir()
    file.write_bytes(kept)
    assert read_predictions(tmp_path) is None


def test_a_combination_within_the_noise_between_seeds_is_kept_if_its_cross_entropy_is_clearly_lower(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path
) -> None:
    record = attempt(digits, runs, tmp_path, CONFIRM, values=(0.2, 0.9))
    assert record.values["single"] < record.values["soup"] < record.values["single"] + record.noise
    assert record.is_kept and record.losses["soup"] < record.losses["single"]
    assert f"cross-entropy soup {record.losses['soup']:.4f}, best run {record.losses['single']:.4f}" in record.line()


@pytest.mark.parametrize("kind", ["soup", "ensemble"])
def test_runs_that_predict_the_same_are_not_combined(
    kind: Combine, digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path
) -> None:
    alike = [replace(runs[0], trial=trial) for trial in range(3)]
    record = attempt(digits, alike, tmp_path, Confirm(seeds=3, combine=kind))
    assert not record.is_kept and record.trials == (0,)
    assert not (tmp_path / "classifier").exists()
    assert "the best run alone" in record.line()


def candidate(value: float, parts_value: float, mistakes: int) -> Candidate:
    """A classifier that is as sure of all its answers, of which so many of 200 are wrong; `value` is of any metric."""
    labels_M = np.arange(200) % 2
    answers_M = np.where(np.arange(200) < mistakes, 1 - labels_M, labels_M)
    predictions = ValidationPredictions(labels_M=labels_M, probabilities_MC=_sure_of(answers_M))
    return Candidate(network=torch.nn.Identity(), predictions=predictions, value=value, parts_value=parts_value)


def _sure_of(answers_M: np.ndarray) -> np.ndarray:
    return np.where(np.eye(2)[answers_M] == 1, 0.9, 0.1).astype(np.float32)


def test_better_is_more_than_the_noise_in_the_metric_or_a_clearly_lower_cross_entropy() -> None:
    single = candidate(0.8, 0.8, mistakes=40)
    assert candidate(0.82, 0.8, mistakes=40).is_better_than(single, noise=0.01)
    assert not candidate(0.82, 0.8, mistakes=40).is_better_than(single, noise=0.03)
    assert candidate(0.79, 0.78, mistakes=20).is_better_than(single, noise=0.03)
    assert not candidate(0.79, 0.78, mistakes=39).is_better_than(single, noise=0.03), "a single image is no evidence"
    assert not candidate(0.79, 0.80, mistakes=20).is_better_than(single, noise=0.03), "its parts have a better metric"


def test_mirrored_images_do_not_help_with_digits(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path
) -> None:
    record = attempt(digits, runs, tmp_path, Confirm(seeds=2, mirror=True))
    assert record.tried == ("mirror",) and not record.is_kept
    assert record.values["mirror"] < record.values["single"]


def test_a_promotion_that_goes_on_uses_the_combination_that_is_there(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attempt(digits, runs, tmp_path, CONFIRM)
    weights = (tmp_path / "classifier/weights.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module, "Candidates", None)
        assert attempt(digits, runs, tmp_path, CONFIRM) == first
    (tmp_path / "combination.json").unlink()  # Killed after the classifier was saved, before the decision was.
    again = attempt(digits, runs, tmp_path, CONFIRM)
    assert again.trials == first.trials and again.values == first.values
    assert (tmp_path / "classifier/weights.safetensors").read_bytes() == weights
    (tmp_path / "classifier/weights.safetensors").write_bytes(b"damaged")
    attempt(digits, runs, tmp_path, CONFIRM)
    assert (tmp_path / "classifier/weights.safetensors").read_bytes() == weights


def test_a_classifier_that_a_killed_promotion_left_half_written_is_removed(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path
) -> None:
    half = tmp_path / ".classifier.0123.part"
    half.mkdir()
    attempt(digits, runs, tmp_path, CONFIRM)
    assert not half.exists() and (tmp_path / "classifier").is_dir()


def test_a_measure_of_one_class_is_compared_too(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path
) -> None:
    champion = replace(champion_of(runs, (0.5, 0.5)), metric="val_recall:3")
    record = combine(digits, champion, runs, CONFIRM, tmp_path, CPU)
    assert 0 < record.values["single"] <= 1 and record.values["soup"] != record.values["single"]


def test_after_the_deadline_no_run_is_added(digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path) -> None:
    late = combine(digits, champion_of(runs, (0.5, 0.5)), runs, CONFIRM, tmp_path, CPU, deadline=time.time() - 1)
    assert not late.is_kept


def test_after_the_deadline_no_mirrored_images_are_predicted(
    digits: WorkloadBuilder, runs: list[FinishedRun], tmp_path: Path
) -> None:
    confirm = Confirm(seeds=2, mirror=True)
    late = combine(digits, champion_of(runs, (0.5, 0.5)), runs, confirm, tmp_path, CPU, deadline=time.time() - 1)
    assert "mirror" not in late.values and not late.mirror and not late.is_kept
