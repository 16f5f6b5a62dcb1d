"""After the confirmation: combines runs into one classifier, if that is better on the validation images.

A soup averages the weights of runs of the same network, an ensemble the probabilities of any runs; both begin with the
champion's best run. A combination is registered only if it beats that run by more than the standard deviation between
the champion's seeds.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, nn

from data.batches import EvalBatches
from data.files import hash_folder, read_json, write_json
from models.bundle import Classifier, load_bundle, save_bundle
from models.calibration import calibrate
from models.combined import Ensemble, average_weights, fit_together, learned_statistics, measure_statistics
from models.metric_names import bind_metric
from models.preprocessing import Preprocessing
from models.registry import build_skeleton, resolved
from models.training.scoring import evaluate
from search import names
from search.stage.seeds import derive_seed
from search.store.champion_record import ChampionRecord
from search.store.combination_record import CombinationRecord
from search.trials.data_source import TrialData
from search.trials.validation_predictions import save_predictions
from search.trials.workload import WorkloadBuilder
from search.verdict.greedy import choose_runs
from studies.definition import Confirm

MOST_RUNS = 5
"""The most members of an ensemble, since each costs a forward pass at inference."""
DECISION_FILE = "combination.json"
_TIMED_PREDICTIONS = 9


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A complete run of the confirmation."""

    trial: int
    value: float
    """The study's metric."""
    folder: Path
    """Folder of the run's classifier."""


def combine(
    workloads: WorkloadBuilder,
    champion: ChampionRecord,
    runs: Sequence[FinishedRun],
    confirm: Confirm,
    folder: Path,
    device: torch.device,
    *,
    deadline: float | None = None,
) -> CombinationRecord:
    """Combine runs as the confirmation specifies; a combination that is kept is saved below `folder`.

    If an interrupted promotion has saved a combination of the same runs there, it is used again. After
    `deadline`, in seconds since the epoch, no further runs are added.
    """
    identity = {
        "runs": {str(run.trial): hash_folder(run.folder) for run in runs},
        "combine": confirm.combine,
        "mirror": confirm.mirror,
        "champion": champion.trial,
    }
    bundle = folder / names.BUNDLE_FOLDER
    stored = read_json(folder / DECISION_FILE)
    if stored and stored["identity"] == identity:
        record = CombinationRecord.from_json(stored["record"])
        if not record.is_kept or (bundle.is_dir() and hash_folder(bundle) == stored["bundle"]):
            return record
    shutil.rmtree(bundle, ignore_errors=True)  # Left by a promotion that was interrupted.
    attempts = _Attempts(workloads, champion, runs, device, deadline)
    network, record = attempts.best(confirm)
    if record.is_kept:
        attempts.save(network, folder)
    saved = hash_folder(bundle) if record.is_kept else None
    write_json(folder / DECISION_FILE, {"identity": identity, "bundle": saved, "record": record.to_json()})
    return record


class _Attempts:
    """The classifiers of the runs, opened, and what is made of them."""

    def __init__(
        self,
        workloads: WorkloadBuilder,
        champion: ChampionRecord,
        runs: Sequence[FinishedRun],
        device: torch.device,
        deadline: float | None,
    ) -> None:
        self._sign = -1 if champion.metric == "val_loss" else 1
        self._champion, self._device = champion, device
        self._is_late: Callable[[], bool] = lambda: deadline is not None and time.time() > deadline
        opened = {run.trial: load_bundle(run.folder, str(device)) for run in runs}
        self._single = opened[champion.trial]
        ordered = sorted(runs, key=lambda run: (run.trial != champion.trial, -self._sign * run.value, run.trial))
        self._runs = {run.trial: opened[run.trial] for run in ordered if _same_input(opened[run.trial], self._single)}
        self._data: TrialData = workloads.open_data(resolved(self._single.config))

    def best(self, confirm: Confirm) -> tuple[nn.Module, CombinationRecord]:
        """The best network, which is the champion's best run if nothing beats it, and the record of all attempts."""
        network, single = self._single.model, self._value(self._single.model)
        trials, kind, best = [self._champion.trial], "none", single
        values, noise = {"single": single}, statistics.stdev(self._champion.values)
        if confirm.combine != "none":
            make = self._soup if confirm.combine == "soup" else self._ensemble
            chosen, value = self._choose(confirm.combine)
            values[confirm.combine] = value
            if len(chosen) > 1 and value - single > noise:
                network, trials, kind, best = make(chosen), chosen, str(confirm.combine), value
        mirror = False
        if confirm.mirror:
            mirrored = _mirrored(network, self._single)
            values["mirror"] = self._value(mirrored)
            if values["mirror"] - best > noise:
                network, mirror = mirrored, True
        return network, CombinationRecord(
            kind=kind,
            tried=tuple(name for name in values if name != "single"),
            mirror=mirror,
            trials=tuple(trials),
            metric=self._champion.metric,
            values={name: self._sign * value for name, value in values.items()},
            noise=noise,
            passes=network.passes if isinstance(network, Ensemble) else 1,
            image_ms=self._image_ms(network),
            single_image_ms=self._image_ms(self._single.model),
        )

    def save(self, network: nn.Module, folder: Path) -> None:
        """Save a network's predictions on validation images, and a classifier that they calibrate, below `folder`."""
        single = self._single
        predictions = save_predictions(folder, network, self._batches())
        save_bundle(
            folder / names.BUNDLE_FOLDER, network, single.config,
            classes=single.classes, input_shape=single.input_shape, mean=single.mean, std=single.std,
            pixel_rule=single.pixel_rule,
            calibration=calibrate(predictions.probabilities_MC, predictions.labels_M),
        )  # fmt: skip

    def _choose(self, kind: str) -> tuple[list[int], float]:
        if kind == "ensemble":
            return choose_runs(
                list(self._runs), lambda trials: self._value(self._ensemble(trials)), most=MOST_RUNS, strictly=True,
                is_late=self._is_late,
            )  # fmt: skip
        first = self._single.model.state_dict()
        alike = [trial for trial, run in self._runs.items() if fit_together(first, run.model.state_dict())]
        return choose_runs(
            alike, lambda trials: self._value(self._soup(trials)), most=len(alike), strictly=False,
            is_late=self._is_late,
        )  # fmt: skip

    def _soup(self, trials: Sequence[int]) -> nn.Module:
        single, ingredients = self._single, [self._runs[trial].model.state_dict() for trial in trials]
        if len(ingredients) == 1:
            return single.model
        soup = build_skeleton(single.config, single.input_shape, len(single.classes))
        soup.load_state_dict(average_weights(ingredients))
        soup.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        norms = learned_statistics(ingredients, soup)
        batches = self._data.train_batches(single.config, _preprocessing(single)).epoch(
            Generator(self._device).manual_seed(derive_seed(0, "soup"))
        )
        measure_statistics(soup, norms, (batch.images_NCHW for batch in batches))
        return soup.eval()

    def _ensemble(self, trials: Sequence[int]) -> nn.Module:
        members = [self._runs[trial] for trial in trials]
        return Ensemble([member.model for member in members], [member.config for member in members])

    def _value(self, network: nn.Module) -> float:
        """The study's metric on the validation images in float32, with the sign that makes larger values better."""
        classes = self._single.classes
        measure = bind_metric(self._champion.metric, classes)
        scores = evaluate(network, self._batches(), classes=len(classes), device=self._device, measure=measure)
        value = getattr(scores, measure.kind.removeprefix("val_"), scores.measured)
        assert value is not None, f"{measure.name} was not measured"
        return self._sign * float(value)

    def _batches(self) -> EvalBatches:
        return self._data.val_batches(_preprocessing(self._single))

    def _image_ms(self, network: nn.Module) -> float:
        image_1CHW = next(iter(self._batches())).images_NCHW[:1]
        times = []
        for _ in range(_TIMED_PREDICTIONS):
            started_at = time.perf_counter()
            with torch.inference_mode():
                network(image_1CHW).cpu()  # Waits for the device.
            times.append(1000 * (time.perf_counter() - started_at))
        return round(statistics.median(times), 3)


def _mirrored(network: nn.Module, single: Classifier) -> Ensemble:
    if isinstance(network, Ensemble):
        return Ensemble(list(network.members), network.configs, mirror=True)
    return Ensemble([network], [single.config], mirror=True)


def _preprocessing(classifier: Classifier) -> Preprocessing:
    return Preprocessing(
        image_size=classifier.input_shape[1], mean=classifier.mean, std=classifier.std, interpolation="bicubic"
    )


def _same_input(classifier: Classifier, other: Classifier) -> bool:
    """Whether two classifiers prepare images in the same way, so that one input serves both."""
    return _input(classifier) == _input(other)


def _input(classifier: Classifier) -> Mapping[str, object]:
    return {
        "shape": classifier.input_shape,
        "mean": classifier.mean,
        "std": classifier.std,
        "fit": classifier.config.image_fit,
        "pixels": classifier.pixel_rule,
        "classes": classifier.classes,
    }
