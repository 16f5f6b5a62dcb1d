"""From a command line to a study that can run: what was typed is checked, in full, before anything is written."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from data.cache import describe
from data.catalog import DATASETS
from data.errors import UserError
from data.spec import DataSpec
from models.config import BackboneConfig
from models.values import parse_assignment
from search.artifacts import open_artifacts
from search.cli import command_parser
from search.devices import default_workers, parse_devices
from search.durations import parse_duration
from search.launch import Share
from search.notify import check_address
from search.settings import Settings, add_cache_argument, add_trial_arguments, from_arguments
from search.storage import check_answers
from studies.definition import Study
from studies.flat import flatten
from studies.overrides import fix_fields, scale_epochs, scale_trials
from studies.registry import load_study

AUTO = "auto"
MAX_WORKERS = 256
"""On one machine: more is a slip of the finger."""
MAX_ACTORS = 10_000
"""On a cluster."""
MAX_IMAGE_SIZE = 4096
"""Pixels: every image is kept decoded at this size, 48 MiB each at the largest."""
MAX_NAME = 100
"""Characters of a study's name: it names a folder, and columns of the database hold no more."""

_SAYS_NOTHING_OF_THE_SEARCH = frozenset({"home", "storage", "tracking", "json", "plan", "test", "notify"})


@dataclass(frozen=True, kw_only=True)
class Request:
    """A checked `search.run` command."""

    settings: Settings
    study: Study
    spec: DataSpec
    devices: tuple[str, ...]
    """Of this machine."""
    share: Share | None
    """What each worker takes of the Ray cluster; None: workers are processes on `devices`."""
    workers: int
    crowds: bool
    """Whether GPUs that one worker does not fill may get more of them."""
    budget_s: float | None
    command: str
    """What was typed, as far as it decides what is searched and how."""
    notify_url: str | None
    """Who is told when the study ends; may hold a secret."""


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which study, on which images, and what of its configuration is fixed."""
    parser.add_argument("--study", required=True, help="a study's name, or a Python file that defines STUDY")
    parser.add_argument("--data", metavar="FOLDER", help="an image folder, or the name of a data set")
    parser.add_argument("--image-size", metavar="N", type=int, help="pixels; the same as --set image_size=N")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a field for all stages")
    add_cache_argument(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `search.run`."""
    add_study_arguments(parser)
    parser.add_argument("--name", help="keep the results under this name instead of the study's own")
    parser.add_argument(
        "--warm-start",
        metavar="NAME",
        help="begin with the best configurations of an earlier study",
    )
    parser.add_argument("--plan", action="store_true", help="print stages, spaces, trials and expected time, and stop")
    parser.add_argument("--budget", metavar="TIME", help="wall time for the whole run, such as 10m or 2h")
    parser.add_argument(
        "--trials-scale", metavar="X", type=float, default=1.0, help="run so many times the trials, such as 0.1"
    )
    parser.add_argument(
        "--epochs-scale", metavar="X", type=float, default=1.0, help="run so many times the epochs, such as 0.5"
    )
    parser.add_argument(
        "--flat", action="store_true", help="search what all stages vary at once, in one stage of as many epochs"
    )
    parser.add_argument(
        "--train-images", metavar="N", type=int, help="use only so many images, drawn per class before the split"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=_workers,
        help="default: one per GPU, or per CPU core; 0 only supervises; auto: more on a GPU that is not filled",
    )
    parser.add_argument("--devices", default="auto", help="auto (default), cpu, cuda, or cuda:0,1")
    parser.add_argument(
        "--launcher", choices=("local", "ray"), default="local", help="workers here (default), or on the Ray cluster"
    )
    parser.add_argument(
        "--gpus-per-worker", metavar="X", type=float, default=1.0, help="of the Ray cluster's, such as 0.5 (default: 1)"
    )
    parser.add_argument("--notify", metavar="URL", help="a webhook that is told when the study ends (or SIEVE_NOTIFY)")
    add_trial_arguments(parser)
    parser.add_argument("--test", action="store_true", help="open the sealed test set at the end, once")


def check_request(options: argparse.Namespace) -> Request:
    """Check everything that can be checked without writing; raises UserError."""
    settings = from_arguments(options)
    study = change_study(load_study(options.study), options)
    budget_s = parse_duration(options.budget, "--budget") if options.budget else None
    if options.launcher == "ray":
        share, room = open_cluster(options.devices, options.gpus_per_worker)
        devices, limit = tuple(parse_devices("auto")), MAX_ACTORS
    else:
        devices, limit = tuple(parse_devices(options.devices)), MAX_WORKERS
        share, room = None, default_workers(list(devices))
    crowds = options.workers == AUTO
    if crowds and (share is not None or devices == ("cpu",)):
        raise UserError("--workers auto: is for GPUs of this machine; leave it out, or give a number")
    workers = room if options.workers is None or crowds else options.workers
    if not 0 <= workers <= limit:
        raise UserError(f"--workers {workers}: give 0 to {limit}")
    notify_url = options.notify or settings.notify_url
    if notify_url:
        check_address(notify_url)
    check_answers(settings.storage_url, must_exist=False)
    spec = data_spec(study, options.data)
    describe(spec, settings.data_home)
    if isinstance(study.config, BackboneConfig):
        from search.weights import check_weights  # Here, so that other studies start without torch.

        check_weights(study)
    if settings.artifacts_url:
        open_artifacts(settings).check()  # Last: it is the one that writes.
    return Request(
        settings=settings,
        study=study,
        spec=spec,
        devices=devices,
        share=share,
        workers=workers,
        crowds=crowds,
        budget_s=budget_s,
        command=typed_command(options),
        notify_url=notify_url,
    )


def _workers(text: str) -> int | str:
    if text != AUTO and not text.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a number, or {AUTO}")
    return text if text == AUTO else int(text)


def open_cluster(devices: str, gpus_per_worker: float) -> tuple[Share, int]:
    """Ask the running Ray cluster what a worker takes of it, and how many workers it holds."""
    if not 0 < gpus_per_worker <= 1:
        raise UserError(f"--gpus-per-worker {gpus_per_worker:g}: give 1, or a part of a GPU such as 0.5")
    try:
        from search import ray_launch  # Here, since it needs an extra.
    except ModuleNotFoundError as error:
        raise UserError(f"--launcher ray: {error}; pip install 'sieve-search[ray]'") from None
    with ray_launch.connected():
        share = ray_launch.share_of(devices, gpus_per_worker)
        return share, ray_launch.room(share)


def typed_command(options: argparse.Namespace) -> str:
    """The command that gives these options, for a shell; defaults are left out, and so is what may be a secret."""
    parser = command_parser("search.run", None)
    add_run_arguments(parser)
    words = []
    for name, value in vars(options).items():
        if name in _SAYS_NOTHING_OF_THE_SEARCH or value == parser.get_default(name):
            continue
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
            continue
        for entry in value if isinstance(value, list) else [value]:
            words += [flag, f"{entry:g}" if isinstance(entry, float) else str(entry)]
    return f"python -m search.run {shlex.join(words)}"


def fixed_values(options: argparse.Namespace) -> dict[str, str | int]:
    """What `--set` and `--image-size` fix, by field."""
    values: dict[str, str | int] = dict(parse_assignment(text) for text in options.set)
    if options.image_size is not None:
        values["image_size"] = options.image_size
    return values


def change_study(study: Study, options: argparse.Namespace) -> Study:
    """The study with what the command line says of it."""
    study = fix_fields(study, fixed_values(options))
    if options.trials_scale != 1.0:
        study = scale_trials(study, options.trials_scale)
    if options.epochs_scale != 1.0:
        study = scale_epochs(study, options.epochs_scale)
    if options.flat:
        study = flatten(study)
    if options.train_images is not None:
        study = replace(study, train_images=options.train_images)
    if options.name:
        study = replace(study, name=options.name)
    if options.warm_start:
        study = replace(study, warm_start=options.warm_start)
    if study.config.image_size > MAX_IMAGE_SIZE:
        raise UserError(f"image_size={study.config.image_size}: at most {MAX_IMAGE_SIZE} pixels are possible")
    name = study.name
    if name in ("", ".", "..") or "/" in name or not name.isprintable() or len(name) > MAX_NAME:
        raise UserError(f"study name {name[:MAX_NAME]!r}: give 1 to {MAX_NAME} characters, no slash, not dots alone")
    return study


def data_spec(study: Study, data: str | None) -> DataSpec:
    """Which images: `--data`, or what the study brings."""
    source = data or study.data
    if source is None:
        raise UserError(f"{study.name} brings no data set of its own; say which images with --data FOLDER")
    path = Path(source).expanduser()
    if source not in DATASETS and (path.exists() or len(path.parts) > 1):  # Else it is a misspelled name.
        source = str(path.resolve())
    return DataSpec(
        source=source,
        split_seed=study.seed,
        val_fraction=study.val_fraction,
        folds=study.folds,
        train_images=study.train_images,
        imbalance=study.imbalance,
        rare_class=study.rare_class,
    )
