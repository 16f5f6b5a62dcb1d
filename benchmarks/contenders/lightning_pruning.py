"""B: Lightning with Optuna's pruning callback.

Source: https://github.com/optuna/optuna-examples/blob/main/pytorch/pytorch_lightning_simple.py. The module's steps, the
data module, the trainer's arguments and the callback are the example's. The network, the data, the parameters and the
loaders are those of contender A. The callback reports each epoch; the pruner ends no trial, because the benchmark
compares finished trials.
"""

from __future__ import annotations

import logging
import time
import warnings

import lightning.pytorch as pl
import optuna
import torch
import torch.nn.functional as F
from optuna_integration import PyTorchLightningPruningCallback

from benchmarks.contenders.task import OPTIMIZERS, Task, read_task


class LightningNet(pl.LightningModule):
    """The network of one configuration, with the training and validation steps of Optuna's Lightning example."""

    def __init__(self, task: Task, slot: int, classes: int) -> None:
        super().__init__()
        self.config = task.config(slot)
        self.model = task.build_model(slot, classes)
        self.accuracies: list[float] = []

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, classes) of normalised images (N, 3, H, W)."""
        return self.model(data)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the mean cross-entropy of a batch of images and labels."""
        data, target = batch
        return F.cross_entropy(self(data), target)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """Log a batch's accuracy as `val_acc`, which Lightning averages over the epoch."""
        data, target = batch
        accuracy = (self(data).argmax(dim=1) == target).float().mean()
        self.log("val_acc", accuracy, on_epoch=True, batch_size=len(target))

    def on_validation_epoch_end(self) -> None:
        """Keep the epoch's validation accuracy for the benchmark's log."""
        self.accuracies.append(self.trainer.callback_metrics["val_acc"].item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the configuration's optimizer with its learning rate and weight decay."""
        return OPTIMIZERS[self.config.optimizer](
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )


class ImageFolders(pl.LightningDataModule):
    """The benchmark's training and validation images, read by one worker process per core."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.train_set, self.valid_set = task.datasets()
        self.batch_size, self.workers = task.config(0).batch_size, task.cores

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return the loader of shuffled training batches."""
        return torch.utils.data.DataLoader(
            self.train_set, batch_size=self.batch_size, shuffle=True, num_workers=self.workers
        )

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        """Return the loader of validation batches, in order."""
        return torch.utils.data.DataLoader(
            self.valid_set, batch_size=self.batch_size, shuffle=False, num_workers=self.workers
        )


def main() -> None:
    """Train the configurations of the task whose file the command names, until its time is up."""
    task = read_task()
    data = ImageFolders(task)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")  # It advises other loaders; these are A's on purpose.

    def objective(trial: optuna.Trial) -> float:
        started_at = time.time()
        model = LightningNet(task, trial.number, len(data.train_set.classes))
        trainer = pl.Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            max_epochs=model.config.epochs,
            accelerator="auto",
            devices=1,
            callbacks=[PyTorchLightningPruningCallback(trial, monitor="val_acc")],
        )
        trainer.fit(model, datamodule=data)
        task.finished(trial.number, started_at, model.accuracies)
        return trainer.callback_metrics["val_acc"].item()

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=len(task.seeds), timeout=task.box_s)


if __name__ == "__main__":
    main()
