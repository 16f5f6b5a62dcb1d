"""Train a network, one epoch at a time. The caller prunes, logs and decides when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import torch
from torch import nn

from data.errors import TrainingDiverged
from models.config import TrainConfig
from models.metric_names import VAL_ACCURACY, Measure
from models.training.batch_protocols import TrainingBatches, ValidationBatches
from models.training.capture import CaptureChoice, chosen_capture
from models.training.checkpoint import SHARE_ON_GPU, CheckpointWriter, load_checkpoint
from models.training.epoch_seeds import epoch_seeds, seed_torch
from models.training.metrics import EpochMetrics, Scores, best_epoch
from models.training.precision import compute_dtype
from models.training.process import memory_mib, reset_memory
from models.training.schedule import learning_rate
from models.training.scoring import evaluate
from models.training.state import TrainingState
from models.training.validation import captured_validation
from models.values import to_flat


def fit(
    model: nn.Module,
    train: TrainingBatches,
    val: ValidationBatches,
    config: TrainConfig,
    *,
    classes: int,
    device: torch.device,
    seed: int,
    metric: Measure = VAL_ACCURACY,
    checkpoint: Path | None = None,
    needed_checkpoints: Container[int] = (),
    on_batch: Callable[[], None] = lambda: None,
    capture: CaptureChoice = "auto",
) -> Iterator[EpochMetrics]:
    """Train `model` in place and yield the metrics of each epoch as it ends.

    When the iterator is exhausted, the model has the weights of the epoch with the best `metric` (or their moving
    average, if that is on). Close the iterator to stop earlier.

    With `checkpoint`, the state is written to that file before each yield; on a GPU, where an epoch may be shorter than
    that takes, only as often as takes a small share of the time (`SHARE_ON_GPU`), and after the epochs in
    `needed_checkpoints`. If the file exists already, training continues after the epoch in it, and only the following
    epochs are yielded (`read_history` returns the earlier ones); the metrics are the same as without an interruption.
    With `keep_checkpoints` in the configuration, the state of each epoch also stays in its own file, `kept_checkpoint`:
    copy it to `checkpoint` to continue from there.

    If a batch does not fit into the device's memory, its gradient is accumulated over micro-batches: of half the
    images, a quarter and so on, down to `micro_batches.SMALLEST`. The step is that of the whole batch, except that
    batch norms use the statistics of a micro-batch. The memory of the optimiser state and of the images does not
    shrink.

    `seed` decides shuffling, augmentation and dropout; the caller initialises the weights. Each epoch seeds torch's
    global generator. On one CPU thread, the same seed and configuration give bit-identical metrics. `on_batch` is
    called after each batch, in training and in validation; on a GPU, when a batch is launched.

    If the images are on a GPU, a step is recorded once and replayed (`capture`), with the same random draws and
    learning rates. The first replays are compared with eager steps. Steps are run eagerly if the two differ or the
    recording fails. `EpochMetrics.steps` says how steps were run, and why.

    Raises TrainingDiverged if a loss is NaN or infinite, InfeasibleConfig if memory is too small for micro-batches,
    too, and UserError for a checkpoint of another training, or one that cannot be written.
    """
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    reset_memory(device)
    example_1CHW = next(iter(val)).images_NCHW[:1]
    dtype = compute_dtype(config.precision, device, model, example_1CHW, batch_size=train.batch_size)
    recorder = chosen_capture(capture, device)
    if recorder is not None and config.epochs * len(train) < recorder.worthwhile_steps:
        recorder = None
    state = TrainingState(model, train, config, classes=classes, device=device, dtype=dtype, capture=recorder)
    validation = captured_validation(
        recorder, val, state.judged_model, classes=classes, device=device, dtype=dtype, measure=metric
    )
    identity = {**to_flat(config), "classes": classes, "seed": seed, "metric": metric.name}
    if checkpoint is not None and (saved := load_checkpoint(checkpoint, identity, device)):
        state.restore(saved)
    writer = None
    if checkpoint is not None:
        writer = CheckpointWriter(
            checkpoint, epochs=config.epochs, share=SHARE_ON_GPU if device.type == "cuda" else 1.0,
            needed=needed_checkpoints, keep_all=config.keep_checkpoints,
        )  # fmt: skip

    try:
        while (finished := len(state.history)) < config.epochs:
            if config.patience and finished - best_epoch(state.history, metric.name) >= config.patience:
                break
            epoch = finished + 1
            started_s = time.perf_counter()
            train_scores = state.train_epoch(epoch, _seed_epoch(seed, epoch, device), on_batch)
            trained_s = time.perf_counter()
            _refuse_divergence(train_scores, f"epoch {epoch}: the training loss", config)
            if validation:
                (val_scores,) = validation.scores(on_batch)
            else:
                val_scores = evaluate(
                    state.judged_model,
                    val,
                    classes=classes,
                    device=device,
                    dtype=dtype,
                    measure=metric,
                    on_batch=on_batch,
                )
            _refuse_divergence(val_scores, f"epoch {epoch}: the validation loss", config)
            metrics = EpochMetrics(
                epoch=epoch,
                train_loss=train_scores.loss,
                train_accuracy=train_scores.accuracy,
                val_loss=val_scores.loss,
                val_accuracy=val_scores.accuracy,
                val_macro_f1=val_scores.macro_f1,
                val_metric=val_scores.measured,
                learning_rate=learning_rate(epoch * len(train) - 1, config, len(train)),
                duration_s=time.perf_counter() - started_s,
                images_per_s=train_scores.images / (trained_s - started_s),
                memory_mib=memory_mib(device),
                micro_batches=state.micro_batches.count,
                steps=state.steps,
            )
            state.finish_epoch(metrics, metric.name)
            if writer and writer.is_due(epoch):
                writer.write(epoch, state.checkpoint(identity))
            yield metrics
    finally:
        state.close()
        if validation:
            validation.close()

    model.load_state_dict(state.best_weights)


def _seed_epoch(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """Seed torch's global generator, which draws dropout, and return the generator for shuffling and augmentation."""
    seeds = epoch_seeds(seed, epoch)
    seed_torch(seeds.dropout, device)
    return torch.Generator(device).manual_seed(seeds.batches)


def _refuse_divergence(scores: Scores, what: str, config: TrainConfig) -> None:
    if not math.isfinite(scores.loss):
        raise TrainingDiverged(f"{what} is {scores.loss}; learning_rate={config.learning_rate:g} may be too high")
