"""The classifiers that can be made of a confirmation's finished runs, and the best of them on the validation images.

A soup averages the weights of runs of the same network, an ensemble the probabilities of any runs; both begin with the
champion's best run. The predictions that were saved with the runs are used again: only soups and mirrored images need
forward passes.

A run is added to a soup if the cross-entropy falls; to an ensemble, where it costs a forward pass for every prediction,
if it falls by more than a standard error. A combination is better than the champion's best run if its metric is better
by more than the standard deviation between the champion's seeds; or if its cross-entropy is clearly lower, and its
metric is not worse than the mean of what it averages. The best run's own metric is a poor measure: it is the best one
partly by chance.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from data.batches import EvalBatches
from models.bundle import Classifier, load_bundle, save_bundle
from models.calibration import calibrate
from models.combined import Ensemble, average_weights, fit_together, learned_statistics, measure_statistics
from models.preprocessing import Preprocessing
from models.registry import build_skeleton, resolved
from search import names
from search.stage.combining_time import MOST_RUNS
from search.stage.seeds import derive_seed
from search.store.champion_record import ChampionRecord
from search.store.combination_record import CombinationRecord
from search.trials.data_source import TrialData
from search.trials.validation_predictions import (
    ValidationPredictions,
    measure_predictions,
    predict,
    read_predictions,
    save_predictions,
)
from search.trials.workload import WorkloadBuilder
from search.verdict.calibrated_loss import Losses, calibrated_losses, falls_by_an_error, is_clearly_lower
from search.verdict.greedy import choose_runs
from studies.definition import Confirm

_TIMED_PREDICTIONS = 9


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A complete run of the confirmation."""

    trial: int
    value: float
    """The study's metric."""
    folder: Path
    """Folder of the run's classifier."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A network, its predictions, and the study's metric, with the sign that makes larger values better."""

    network: nn.Module
    predictions: ValidationPredictions
    value: float
    parts_value: float
    """The mean `value` of the predictions that it averages."""

    @cached_property
    def losses_M(self) -> Losses:
        """Cross-entropy of each validation image after calibration."""
        return calibrated_losses(self.predictions.probabilities_MC, self.predictions.labels_M)

    @property
    def loss(self) -> float:
        """The mean of `losses_M`."""
        return float(self.losses_M.mean())

    def is_better_than(self, other: Candidate, noise: float) -> bool:
        """Whether it is better by more than chance, as the module describes."""
        if self.value - other.value > noise:
            return True
        return self.value >= self.parts_value and is_clearly_lower(self.losses_M, other.losses_M)


class _Mirrored(nn.Module):
    """A network that sees mirrored images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, images_NCHW: Tensor) -> Tensor:
        logits_NC: Tensor = self._network(images_NCHW.flip(3))
        return logits_NC


class Candidates:
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
        self._predictions = {run.trial: self._predictions_of(run) for run in ordered if run.trial in self._runs}

    def best(self, confirm: Confirm) -> tuple[Candidate, CombinationRecord]:
        """The best network, which is the champion's best run if nothing beats it, and the record of all attempts."""
        best = single = self._ensemble([self._champion.trial])
        trials, kind = [self._champion.trial], "none"
        tried, noise = {"single": single}, statistics.stdev(self._champion.values)
        if confirm.combine != "none":
            chosen, combined = self._choose(confirm.combine)
            tried[confirm.combine] = combined
            if len(chosen) > 1 and combined.is_better_than(single, noise):
                best, trials, kind = combined, chosen, str(confirm.combine)
        mirror = False
        if confirm.mirror and not self._is_late():
            tried["mirror"] = mirrored = self._mirrored(best)
            if mirrored.is_better_than(best, noise):
                best, mirror = mirrored, True
        network = best.network
        return best, CombinationRecord(
            kind=kind,
            tried=tuple(name for name in tried if name != "single"),
            mirror=mirror,
            trials=tuple(trials),
            metric=self._champion.metric,
            values={name: self._sign * one.value for name, one in tried.items()},
            losses={name: one.loss for name, one in tried.items()},
            noise=noise,
            passes=network.passes if isinstance(network, Ensemble) else 1,
            image_ms=self._image_ms(network),
            single_image_ms=self._image_ms(single.network),
        )

    def save(self, best: Candidate, folder: Path) -> None:
        """Save a network's predictions on validation images, and a classifier that they calibrate, below `folder`."""
        single, predictions = self._single, best.predictions
        save_predictions(folder, predictions)
        save_bundle(
            folder / names.BUNDLE_FOLDER, best.network, single.config,
            classes=single.classes, input_shape=single.input_shape, mean=single.mean, std=single.std,
            pixel_rule=single.pixel_rule,
            calibration=calibrate(predictions.probabilities_MC, predictions.labels_M),
        )  # fmt: skip

    def _choose(self, kind: str) -> tuple[list[int], Candidate]:
        if kind == "ensemble":
            return choose_runs(
                list(self._runs), self._ensemble, lambda made, best: falls_by_an_error(made.losses_M, best.losses_M),
                most=MOST_RUNS, is_late=self._is_late,
            )  # fmt: skip
        first = self._single.model.state_dict()
        alike = [trial for trial, run in self._runs.items() if fit_together(first, run.model.state_dict())]
        return choose_runs(
            alike, self._soup, lambda made, best: made.loss < best.loss, most=len(alike), is_late=self._is_late
        )

    def _soup(self, trials: Sequence[int]) -> Candidate:
        if len(trials) == 1:
            return self._ensemble(trials)
        single, ingredients = self._single, [self._runs[trial].model.state_dict() for trial in trials]
        soup = build_skeleton(single.config, single.input_shape, len(single.classes))
        soup.load_state_dict(average_weights(ingredients))
        soup.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        norms = learned_statistics(ingredients, soup)
        batches = self._data.train_batches(single.config, _preprocessing(single)).epoch(
            Generator(self._device).manual_seed(derive_seed(0, "soup"))
        )
        measure_statistics(soup, norms, (batch.images_NCHW for batch in batches))
        parts = [self._predictions[trial] for trial in trials]
        return self._candidate(soup.eval(), predict(soup, self._batches()), parts)

    def _ensemble(self, trials: Sequence[int]) -> Candidate:
        """The runs together, or a single run; their predictions are known already."""
        members = [self._runs[trial] for trial in trials]
        several = Ensemble([member.model for member in members], [member.config for member in members])
        network = several if len(members) > 1 else members[0].model
        parts = [self._predictions[trial] for trial in trials]
        return self._candidate(network, _mean(parts), parts)

    def _mirrored(self, best: Candidate) -> Candidate:
        """A network that sees each image mirrored too. Only the mirrored images pass through the network here."""
        members = list(best.network.members) if isinstance(best.network, Ensemble) else [best.network]
        configs = best.network.configs if isinstance(best.network, Ensemble) else [self._single.config]
        both = [best.predictions, predict(_Mirrored(best.network), self._batches())]
        return self._candidate(Ensemble(members, configs, mirror=True), _mean(both), both)

    def _candidate(
        self, network: nn.Module, predictions: ValidationPredictions, parts: Sequence[ValidationPredictions]
    ) -> Candidate:
        parts_value = statistics.fmean(self._measure(part) for part in parts)
        return Candidate(
            network=network, predictions=predictions, value=self._measure(predictions), parts_value=parts_value
        )

    def _measure(self, predictions: ValidationPredictions) -> float:
        return self._sign * measure_predictions(predictions, self._champion.metric, self._single.classes)

    def _predictions_of(self, run: FinishedRun) -> ValidationPredictions:
        """The predictions that were saved with the run; made again if that file is lost."""
        stored = read_predictions(run.folder.parent)
        if stored is not None and np.array_equal(stored.labels_M, self._data.search.val.labels_M):
            return stored
        return predict(self._runs[run.trial].model, self._batches())

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


def _mean(predictions: Sequence[ValidationPredictions]) -> ValidationPredictions:
    probabilities_MC = np.stack([one.probabilities_MC for one in predictions]).mean(axis=0)
    return replace(predictions[0], probabilities_MC=probabilities_MC)


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
