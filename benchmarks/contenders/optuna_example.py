"""A: Optuna's own PyTorch example, with only the network and the data exchanged.

Source: https://github.com/optuna/optuna-examples/blob/main/pytorch/pytorch_simple.py. The objective, its loops, the
report after each epoch, and `study.optimize` with a timeout are the example's. The network, the data, the parameters
(drawn in advance) and the loss (on logits) are the benchmark's; the loaders have a worker process per core.
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
    train_set, valid_set = task.datasets()

    def objective(trial: optuna.Trial) -> float:
        started_at = time.time()
        config = task.config(trial.number)
        model = task.build_model(trial.number, len(train_set.classes)).to(device)
        optimizer = OPTIMIZERS[config.optimizer](
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        train_loader = torch.utils.data.DataLoader(
            train_set, batch_size=config.batch_size, shuffle=True, num_workers=task.cores
        )
        valid_loader = torch.utils.data.DataLoader(
            valid_set, batch_size=config.batch_size, shuffle=False, num_workers=task.cores
        )
        accuracies = []
        for epoch in range(config.epochs):
            model.train()
            for data, target in train_loader:
                data, target = data.to(device), target.to(device)
                optimizer.zero_grad()
                loss = F.cross_entropy(model(data), target)
                loss.backward()
                optimizer.step()

            model.eval()
            correct = 0
            with torch.no_grad():
                for data, target in valid_loader:
                    data, target = data.to(device), target.to(device)
                    pred = model(data).argmax(dim=1)
                    correct += pred.eq(target).sum().item()
            accuracies.append(correct / len(valid_set))
            trial.report(accuracies[-1], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        task.finished(trial.number, started_at, accuracies)
        return accuracies[-1]

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=len(task.seeds), timeout=task.box_s)


if __name__ == "__main__":
    main()
