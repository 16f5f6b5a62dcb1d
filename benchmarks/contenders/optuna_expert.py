"""A+: contender A's script as an expert writes it.

On top of A: autocast in bfloat16 and channels_last (https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html
and https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html), loaders that are made once and keep
their worker processes (`persistent_workers`), pinned memory and asynchronous copies on a GPU, fused optimisers, no
gradient kept between steps, and larger batches in validation.
"""

from __future__ import annotations

import time

import optuna
import torch
import torch.nn.functional as F

from benchmarks.contenders.task import OPTIMIZERS, read_task


def main() -> None:
    """Train the configurations of the task whose file the command names, until its time is up."""
    task = read_task()
    device = torch.device(task.device)
    torch.backends.cudnn.benchmark = True
    train_set, valid_set = task.datasets()
    batch_size = task.config(0).batch_size
    workers = {"num_workers": task.cores, "persistent_workers": True, "pin_memory": device.type == "cuda"}
    train_loader = torch.utils.data.DataLoader(train_set, batch_size=batch_size, shuffle=True, **workers)
    valid_loader = torch.utils.data.DataLoader(valid_set, batch_size=2 * batch_size, **workers)

    def objective(trial: optuna.Trial) -> float:
        started_at = time.time()
        config = task.config(trial.number)
        model = task.build_model(trial.number, len(train_set.classes))
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = OPTIMIZERS[config.optimizer](
            learning, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        accuracies = []
        for epoch in range(config.epochs):
            model.train()
            for data, target in train_loader:
                data = data.to(device, memory_format=torch.channels_last, non_blocking=True)
                target = target.to(device, non_blocking=True)
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    loss = F.cross_entropy(model(data), target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

            model.eval()
            correct = torch.zeros((), dtype=torch.int64, device=device)
            with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
                for data, target in valid_loader:
                    data = data.to(device, memory_format=torch.channels_last, non_blocking=True)
                    correct += (model(data).argmax(dim=1) == target.to(device, non_blocking=True)).sum()
            accuracies.append(correct.item() / len(valid_set))
            trial.report(accuracies[-1], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        task.finished(trial.number, started_at, accuracies)
        return accuracies[-1]

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=len(task.seeds), timeout=task.box_s)


if __name__ == "__main__":
    main()
