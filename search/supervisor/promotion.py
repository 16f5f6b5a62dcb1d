"""Names the champion among the last stage's trials and registers it, again if MLflow has lost it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from optuna.trial import TrialState

from models.bundle import read_calibration
from models.calibration import UNCALIBRATED, Calibration, calibrate
from search import names
from search.report.model_card import model_card
from search.settings import Settings
from search.stage.snapshot import stage_trials
from search.store.champion_record import ChampionRecord
from search.store.find import find_study
from search.store.optuna_private import database_id
from search.store.records import StageRecord, StudyRecord, read_stages, update_study
from search.store.seal import rename_model
from search.store.storage import Storage
from search.supervisor.candidates import FinishedRun
from search.supervisor.combine import combine
from search.supervisor.prepare import Request
from search.supervisor.refit import refit
from search.terminal import say
from search.tracking.mirror import Mirror
from search.tracking.model_registry import RegisteredModel, is_registered, log_bundle, register_champion
from search.trials.artifacts import open_artifacts
from search.trials.validation_predictions import read_predictions
from search.trials.workload import open_workload_builder
from search.verdict.champion import check_kept, choose_champion
from search.verdict.champion_calibration import champion_predictions, with_calibration


def promote(storage: Storage, request: Request, mirror: Mirror, confirmation: StageRecord) -> None:
    """Name the champion, log the finalists' classifiers to MLflow, register the champion and record it."""
    settings, name = request.settings, request.study.name
    record, trials = find_study(storage, name), stage_trials(storage, confirmation)
    artifacts = open_artifacts(settings)
    champion, bundle = choose_champion(confirmation, trials, artifacts.root)
    predictions = champion_predictions(artifacts, confirmation, trials, champion)
    if request.study.folds:
        calibration = UNCALIBRATED
        if predictions is not None:
            calibration = calibrate(predictions.probabilities_MC, predictions.labels_M)
        bundle, images = _refit(request, champion, calibration)
        champion = replace(champion, refit_images=images)
    elif request.study.combines:
        champion = _combine(storage, request, record, confirmation, champion)
        bundle = _registered_folder(settings, record, confirmation, champion)
        if champion.combination is not None and champion.combination.is_kept:
            predictions = read_predictions(bundle.parent)
    registered = _register(settings, storage, mirror, record, confirmation, champion, bundle)
    config = champion.config  # Without the fields of the other families, where the family was searched too.
    searched = {key: config[key] for key in _searched_fields(storage, name) if key in config}
    champion = replace(champion, searched=searched, model_uri=registered.uri)
    if predictions is not None:
        champion = with_calibration(champion, predictions, read_calibration(bundle))
    update_study(storage, name, champion=champion.to_json())


def restore_champion(settings: Settings, storage: Storage, mirror: Mirror, record: StudyRecord) -> bool:
    """Register a study's champion again if the registry has lost it; returns whether it had.

    Raises SieveError if MLflow does not answer, or if the classifier's files are gone or have changed.
    """
    champion, last = record.champion, _last_stage(storage, record.name)
    if champion is None or last is None or is_registered(settings, champion.model_uri):
        return False
    bundle = _registered_folder(settings, record, last, champion)
    registered = _register(settings, storage, mirror, record, last, champion, bundle)
    if registered.uri != champion.model_uri:
        rename_model(storage, record, registered.uri)
    return True


def _last_stage(storage: Storage, study: str) -> StageRecord | None:
    return next((stage for stage in read_stages(storage, study) if stage.name in names.LAST_STAGES), None)


def _register(
    settings: Settings,
    storage: Storage,
    mirror: Mirror,
    record: StudyRecord,
    confirmation: StageRecord,
    champion: ChampionRecord,
    bundle: Path,
) -> RegisteredModel:
    """Log the classifiers of the confirmation to MLflow and register the champion's, which lies in `bundle`."""
    trials, artifacts = stage_trials(storage, confirmation), open_artifacts(settings)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    run_ids = {trial.number: mirror.run_of(database_id(trial)) for trial in complete}
    for number, run_id in run_ids.items():
        folder = names.trial_folder(artifacts.root, record.name, confirmation.name, number)
        artifacts.fetch(folder)
        check_kept(trials[number], folder / names.BUNDLE_FOLDER)
        log_bundle(settings, run_id, folder / names.BUNDLE_FOLDER)
    return register_champion(
        settings,
        record.name,
        bundle,
        run_id=run_ids[champion.trial],
        metrics={"val_accuracy_mean": champion.val_accuracy},
        description=model_card(record, champion),
    )


def _registered_folder(settings: Settings, record: StudyRecord, last: StageRecord, champion: ChampionRecord) -> Path:
    """The folder of the classifier that is registered as this champion."""
    if champion.refit_images is not None:
        folder = _refit_folder(settings, record.name)
    elif champion.combination is not None and champion.combination.is_kept:
        folder = _combined_folder(settings, record.name)
    else:
        folder = names.trial_folder(open_artifacts(settings).root, record.name, last.name, champion.trial)
    return folder / names.BUNDLE_FOLDER


def _combined_folder(settings: Settings, study: str) -> Path:
    return names.study_folder(settings.home, study) / "combined"


def _combine(
    storage: Storage, request: Request, record: StudyRecord, confirmation: StageRecord, champion: ChampionRecord
) -> ChampionRecord:
    """Combine the complete runs of the confirmation; returns the champion with the record of the attempt."""
    settings, artifacts = request.settings, open_artifacts(request.settings)
    if len(champion.values) < 2:
        say(f"{record.name}: the champion has a single run, so the noise is unknown and nothing is combined")
        return champion
    runs = []
    for trial in stage_trials(storage, confirmation):
        if trial.state == TrialState.COMPLETE:
            folder = names.trial_folder(artifacts.root, record.name, confirmation.name, trial.number)
            artifacts.fetch(folder)
            check_kept(trial, folder / names.BUNDLE_FOLDER)
            value = float(trial.value or 0.0)
            runs.append(FinishedRun(trial=trial.number, value=value, folder=folder / names.BUNDLE_FOLDER))
    device = torch.device(request.devices[0])
    workloads = open_workload_builder(request.spec, settings, device)
    combination = combine(
        workloads, champion, runs, request.study.confirm, _combined_folder(settings, record.name), device,
        deadline=record.deadline,
    )  # fmt: skip
    return replace(champion, combination=combination)


def _refit_folder(settings: Settings, study: str) -> Path:
    return names.study_folder(settings.home, study) / "refit"


def _refit(request: Request, champion: ChampionRecord, calibration: Calibration) -> tuple[Path, int]:
    """Train the champion of a study with folds on all of them; returns its folder and the number of images."""
    device = torch.device(request.devices[0])
    workloads = open_workload_builder(request.spec, request.settings, device)
    folder = _refit_folder(request.settings, request.study.name)
    return refit(workloads, dict(champion.config), request.study.seed, folder, device, calibration)


def _searched_fields(storage: Storage, name: str) -> list[str]:
    """The fields that any stage searched, in the order of the search, and those that an ablation varied."""
    records = read_stages(storage, name)
    stages = [record.pinned for record in records]
    searched = [parameter.name for stage in stages for space in stage.spaces for parameter in space]
    if records[-1].name == names.ABLATION_STAGE:
        base, *cells = stages[-1].bases
        searched += [field for field in base if any(cell.get(field) != base[field] for cell in cells)]
    return list(dict.fromkeys(searched))
