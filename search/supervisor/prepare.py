"""Turns a command line into a request that can run. Everything is checked before anything is written."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from data.cache import describe
from data.errors import UserError
from data.spec import DataSpec
from models.config import BackboneConfig
from models.values import parse_assignment
from search.devices import default_workers, parse_devices
from search.durations import parse_duration
from search.settings import Settings, enter_home
from search.store.storage import check_usable
from search.supervisor.arguments import AUTO, typed_command
from search.supervisor.data_options import data_spec
from search.supervisor.launch import Share
from search.supervisor.notify import check_address
from search.tracking.precheck import check_tracking
from search.trials.artifacts import open_artifacts
from studies.definition import Study
from studies.flat import flatten
from studies.load import load_study
from studies.overrides import end_early, fix_fields, scale_epochs, scale_trials
from studies.probe import with_backbones

MAX_WORKERS = 256
"""The most workers on one machine; a larger number is taken for a typing error."""
MAX_ACTORS = 10_000
"""The most workers on a Ray cluster."""
MAX_IMAGE_SIZE = 4096
"""Most pixels per side. Images are kept decoded at this size, at most 48 MiB each."""
MAX_NAME = 100
"""Most characters in a study's name, which has to fit into columns of the database."""
MAX_NAME_BYTES = 200
"""Most bytes in a study's name, which is also the name of a folder: most file systems allow 255."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A checked `search.run` command."""

    settings: Settings
    study: Study
    spec: DataSpec
    devices: tuple[str, ...]
    """Devices of this machine, e.g. `cuda:0`."""
    share: Share | None
    """The resources of a Ray cluster that each worker uses; None: workers are processes on `devices`."""
    workers: int
    fills_gpus: bool
    """Whether a GPU that its workers do not fill gets more of them."""
    budget_s: float | None
    command: str
    """The command as typed, without the options that change neither what is searched nor how."""
    notify_url: str | None
    """The address notified when the study ends; may contain a secret."""


def check_request(options: argparse.Namespace, study: Study | None = None) -> Request:
    """Check a parsed command line. Raises UserError for anything that is wrong, before anything is written.

    `study` is a study defined in Python, by default the one that the options name.
    """
    settings = enter_home(options)
    study = change_study(study or load_study(options.study), options)
    budget_s = parse_duration(options.budget, "--budget") if options.budget else None
    if options.launcher == "ray":
        share, room = open_cluster(options.devices, options.gpus_per_worker)
        devices, limit = tuple(parse_devices("auto")), MAX_ACTORS
    else:
        devices, limit = tuple(parse_devices(options.devices)), MAX_WORKERS
        share, room = None, default_workers(list(devices))
    fills_gpus = options.workers == AUTO
    if fills_gpus and (share is not None or devices == ("cpu",)):
        raise UserError("--workers auto: works only with GPUs of this machine; leave it out, or give a number")
    workers = room if options.workers is None or fills_gpus else options.workers
    if not 0 <= workers <= limit:
        raise UserError(f"--workers {workers}: give a number from 0 to {limit}")
    notify_url = options.notify or settings.notify_url
    if notify_url:
        check_address(notify_url)
    check_usable(settings.storage_url, create=True)
    check_tracking(settings, study.name)
    spec = data_spec(study, options)
    describe(spec, settings.data_home)
    if isinstance(study.config, BackboneConfig):
        from search.supervisor.check_weights import (
            check_weights,  # Imported here so that other studies start without torch.
        )

        check_weights(study)
    if settings.artifacts_url:
        open_artifacts(settings).check()  # Last, because this check writes.
    return Request(
        settings=settings,
        study=study,
        spec=spec,
        devices=devices,
        share=share,
        workers=workers,
        fills_gpus=fills_gpus,
        budget_s=budget_s,
        command=typed_command(options),
        notify_url=notify_url,
    )


def open_cluster(devices: str, gpus_per_worker: float) -> tuple[Share, int]:
    """Ask the running Ray cluster for a worker's share and for the number of workers that fit."""
    if not 0 < gpus_per_worker <= 1:
        raise UserError(f"--gpus-per-worker {gpus_per_worker:g}: give 1, or a fraction of a GPU, e.g. 0.5")
    try:
        from search.supervisor import ray_launch
    except ModuleNotFoundError as error:
        raise UserError(f"--launcher ray: {error}; pip install 'sieve-search[ray]'") from None
    with ray_launch.connected():
        share = ray_launch.share_of(devices, gpus_per_worker)
        return share, ray_launch.room(share)


def fixed_values(options: argparse.Namespace) -> dict[str, str | int]:
    """The values that `--set` and `--image-size` fix, by field."""
    values: dict[str, str | int] = dict(parse_assignment(text) for text in options.set)
    if options.image_size is not None:
        values["image_size"] = options.image_size
    return values


def change_study(study: Study, options: argparse.Namespace) -> Study:
    """The study with the changes that the command line asks for."""
    if options.backbones:
        study = with_backbones(study, options.backbones)
    study = fix_fields(study, fixed_values(options))
    if options.trials_scale != 1.0:
        study = scale_trials(study, options.trials_scale)
    if options.epochs_scale != 1.0:
        study = scale_epochs(study, options.epochs_scale)
    if options.flat:
        study = flatten(study)
    if options.early_end:
        study = end_early(study)
    if options.train_images is not None:
        study = replace(study, train_images=options.train_images)
    if options.name:
        study = replace(study, name=options.name)
    if options.warm_start:
        study = replace(study, warm_start=options.warm_start)
    if study.config.image_size > MAX_IMAGE_SIZE:
        raise UserError(f"image_size={study.config.image_size}: give at most {MAX_IMAGE_SIZE} pixels")
    check_name(study.name)
    return study


def check_name(name: str) -> None:
    """Raise UserError for a study's name that cannot name a folder, or does not fit into the database."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable() or name != name.strip():
        raise UserError(
            f"study name {name[:MAX_NAME]!r}: use printable characters without a slash, no space at the start or "
            "end, and not . or .. alone"
        )
    if len(name) > MAX_NAME or len(name.encode()) > MAX_NAME_BYTES:
        raise UserError(
            f"study name {name[:40]!r}...: give 1 to {MAX_NAME} printable characters, {MAX_NAME_BYTES} bytes at most"
        )
