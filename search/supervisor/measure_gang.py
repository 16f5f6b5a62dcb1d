"""Measures how much faster a GPU trains the runs of a finalist together than one after the other."""

from __future__ import annotations

import torch

from data.errors import InfeasibleConfig
from models.config import TrainConfig
from models.registry import resolved
from models.training.branch_limit import BranchLimit
from search.supervisor.memory import lacks_memory
from search.trials.branch_gang import measure_branches
from search.trials.workload import WorkloadBuilder


def measure_gang(config: TrainConfig, workloads: WorkloadBuilder, device: torch.device) -> BranchLimit:
    """How many runs of this configuration a worker will train at once, with the gain; one where that is not known."""
    config = resolved(config)
    try:
        return measure_branches(config, workloads.open_data(config), workloads, device)
    except InfeasibleConfig:
        return BranchLimit(count=1)
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        return BranchLimit(count=1)
