"""From a command line to a study that can run: what was typed is checked, in full, before anything is written."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from data.cache import describe
from data.catalog import DATASETS
from data.errors import UserError
from data.spec import DataSpec
from models.values import parse_assignment
from search.budget import parse_duration
from search.devices import default_workers, parse_devices
from search.settings import Settings, from_arguments
from search.storage import check_answers
from studies.definition import Study
from studies.overrides import fix_fields, scale_epochs, scale_trials
from studies.registry import load_study


@dataclass(frozen=True, kw_only=True)
class Request:
    """A checked `search.run` command."""

    settings: Settings
    study: Study
    spec: DataSpec
    devices: tuple[str, ...]
    workers: int
    budget_s: float | None


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `search.run`."""
    parser.add_argument("--study", required=True, help="a study's name, or a Python file that defines STUDY")
    parser.add_argument("--name", help="keep the results under this name instead of the study's own")
    parser.add_argument("--data", help="an image folder, or the name of a data set")
    parser.add_argument("--plan", action="store_true", help="print stages, spaces, trials and expected time, and stop")
    parser.add_argument("--budget", help="wall time for the whole run, such as 10m or 2h")
    parser.add_argument("--trials-scale", type=float, default=1.0, help="run so many times the trials")
    parser.add_argument("--epochs-scale", type=float, default=1.0, help="run so many times the epochs")
    parser.add_argument("--image-size", type=int, help="pixels; the same as --set image_size=N")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a field for all stages")
    parser.add_argument("--workers", type=int, help="default: one per GPU, or per CPU core; 0 only supervises")
    parser.add_argument("--devices", default="auto", help="auto, cpu, cuda, or cuda:0,1")
    parser.add_argument("--test", action="store_true", help="open the sealed test set at the end, once")


def check_request(options: argparse.Namespace) -> Request:
    """Check everything that can be checked without writing; raises UserError."""
    settings = from_arguments(options)
    study = change_study(load_study(options.study), options)
    budget_s = parse_duration(options.budget) if options.budget else None
    devices = tuple(parse_devices(options.devices))
    workers = default_workers(list(devices)) if options.workers is None else options.workers
    if workers < 0:
        raise UserError(f"--workers {workers}: give 0 or more")
    check_answers(settings.storage_url, must_exist=False)
    spec = data_spec(study, options.data)
    describe(spec, settings.data_home)
    return Request(settings=settings, study=study, spec=spec, devices=devices, workers=workers, budget_s=budget_s)


def change_study(study: Study, options: argparse.Namespace) -> Study:
    """The study with what the command line says of it."""
    values = dict(parse_assignment(text) for text in options.set)
    if options.image_size is not None:
        values["image_size"] = options.image_size
    study = fix_fields(study, values)
    if options.trials_scale != 1.0:
        study = scale_trials(study, options.trials_scale)
    if options.epochs_scale != 1.0:
        study = scale_epochs(study, options.epochs_scale)
    if options.name:
        study = replace(study, name=options.name)
    if study.name in ("", ".", "..") or "/" in study.name:  # It names a folder.
        raise UserError(f"study name {study.name!r}: it may not be empty, dots alone, or hold a slash")
    return study


def data_spec(study: Study, data: str | None) -> DataSpec:
    """Which images: `--data`, or what the study brings."""
    source = data or study.data
    if source is None:
        raise UserError(f"{study.name} brings no data set of its own; say which images with --data FOLDER")
    if source not in DATASETS:
        source = str(Path(source).expanduser().resolve())
    return DataSpec(source=source, split_seed=study.seed, val_fraction=study.val_fraction)
