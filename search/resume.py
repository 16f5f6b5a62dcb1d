"""Resume the training of a trial from the checkpoint of one of its epochs.

    sieve run --study NAME --set keep_checkpoints=true
    sieve resume --study NAME --trial confirm/0 --epoch 2

Training continues with the trial's configuration, images and seed. On one CPU thread the final weights equal the
trial's, bit for bit. The trial itself is not changed: the new classifier is written to a separate folder.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial

from data.errors import UserError
from data.files import writing_below
from models.bundle import save_bundle
from models.metric_names import bind_metric
from models.registry import resolved
from models.training.checkpoint import kept_checkpoint, read_history
from models.training.fit import fit
from models.training.metrics import best_epoch
from models.training.process import tune_process
from models.values import from_flat
from search import names
from search.cli import CommandParser, command_parser, main_guard
from search.devices import parse_devices
from search.settings import Settings, enter_home
from search.stage.find_trial import find_trial
from search.stage.moved_pictures import DATA_HELP, locate_images
from search.store.find import find_study
from search.store.pinned_stage import PinnedStage
from search.store.records import StudyRecord
from search.store.storage import open_storage
from search.terminal import print_json, say
from search.trials.artifacts import open_artifacts
from search.trials.workload import open_workload_builder


def resume(
    settings: Settings,
    study: str,
    trial: str,
    epoch: int,
    *,
    output: Path | None = None,
    device: str = "cpu",
    data: str | None = None,
) -> dict[str, Any]:
    """Train from the checkpoint of `epoch` to the end, save the classifier, and return what `--json` prints.

    `data` is the folder of the images, if they were moved since the search.

    Raises UserError if there is no such study, trial or checkpoint, or if the output folder exists.
    """
    storage = open_storage(settings.storage_url, create=False)
    try:
        record = find_study(storage, study)
        stage, found = find_trial(storage, record.name, trial)
        record = locate_images(storage, settings, record, data)
    finally:
        storage.close()
    folder = names.trial_folder(open_artifacts(settings).root, study, stage.name, found.number)
    kept = kept_checkpoint(folder / f"0-{names.CHECKPOINT_FILE}", epoch)
    if not read_history(kept):
        raise UserError(
            f"{kept}: no such checkpoint; a study keeps checkpoints if it runs with --set keep_checkpoints=true"
        )
    output = (output or folder / f"resumed-from-{epoch:03d}").expanduser()
    if output.exists():
        raise UserError(f"{output}: already exists; give another folder with --output")
    with writing_below(output.parent):  # Before the training, which would be lost.
        output.parent.mkdir(parents=True, exist_ok=True)
    with writing_below(settings.home), tempfile.TemporaryDirectory(dir=folder) as work:
        checkpoint = Path(shutil.copyfile(kept, Path(work) / names.CHECKPOINT_FILE))
        history = _train(settings, record, stage.pinned, found, checkpoint, output, device)
    return {"study": study, "trial": trial, "resumed_from": epoch, "epochs": history, "classifier": str(output)}


def _train(
    settings: Settings,
    study: StudyRecord,
    stage: PinnedStage,
    trial: FrozenTrial,
    checkpoint: Path,
    output: Path,
    device_name: str,
) -> list[dict[str, Any]]:
    folds = stage.folds_of(trial.number)
    if len(folds) > 1:
        raise UserError(
            f"trial {trial.number} was trained on {len(folds)} folds, one after another, and cannot be resumed"
        )
    device = torch.device(device_name)
    config, seed = resolved(from_flat(trial.user_attrs[names.CONFIG])), trial.user_attrs[names.SEED]
    workloads = open_workload_builder(study.data.spec, settings, device)
    data = workloads.open_data(config, folds[0])
    work = workloads.prepare(config, data, seed)
    history = read_history(checkpoint)
    for metrics in fit(
        work.learning, work.train, work.val, config,
        classes=len(data.search.classes), device=device, seed=seed,
        metric=bind_metric(stage.metric, data.search.classes), checkpoint=checkpoint,
    ):  # fmt: skip
        history.append(metrics)
        say(f"epoch {metrics.epoch}/{config.epochs} {stage.metric} {metrics.value_of(stage.metric):.4f}")
    save_bundle(
        output, work.model, config,
        classes=data.search.classes, input_shape=data.input_shape,
        mean=work.preprocessing.mean, std=work.preprocessing.std,
        pixel_rule=data.search.pixel_rule,
    )  # fmt: skip
    say(f"best epoch {best_epoch(history, stage.metric)} of {len(history)}")
    return [metrics.measured() for metrics in history]


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.resume", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study that the trial belongs to")
    parser.add_argument("--trial", metavar="STAGE/NUMBER", required=True, help="the trial to resume, e.g. confirm/0")
    parser.add_argument("--epoch", metavar="K", required=True, type=int, help="epoch of the checkpoint to start from")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path,
        help="folder for the new classifier (default: resumed-from-K in the trial's folder)",
    )  # fmt: skip
    parser.add_argument("--data", metavar="FOLDER", help=DATA_HELP)
    parser.add_argument("--device", default="cpu", help="cpu (default) or a GPU, e.g. cuda:0")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    (device,) = parse_devices(options.device, "--device")[:1]
    tune_process(1)
    result = resume(
        enter_home(options), options.study, options.trial, options.epoch,
        output=options.output, device=device, data=options.data,
    )  # fmt: skip
    if options.json:
        print_json(result)
    else:
        print(result["classifier"])


if __name__ == "__main__":
    sys.exit(main_guard(main))
