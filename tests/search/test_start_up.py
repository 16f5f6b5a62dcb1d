"""What a command imports before its workers train: seconds that every user waits."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {"torch", "torchvision", "scipy", "sklearn", "pandas", "mlflow", "plotly", "matplotlib"}
TRAIN = """
import torch
from models.config import FlexCNNConfig
from models.flexcnn import FlexCNN
from models.training.optim import build_optimizer
from models.training.precision import compute_dtype
from data.digits import digits_layout
import search.worker

digits_layout()
config = FlexCNNConfig(image_size=8, conv_layers=1, filters=4, optimizer="OPTIMIZER")
model = FlexCNN(config, (1, 8, 8), 10)
compute_dtype("auto", torch.device("cpu"), model, torch.zeros(1, 1, 8, 8), batch_size=4)
optimizer = build_optimizer(model, config)
model(torch.zeros(4, 1, 8, 8)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
"""


def _imported_by(code: str) -> set[str]:
    code = f"import sys\n{code}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_supervisor_starts_without_any_library_that_takes_seconds_to_import() -> None:
    assert not _imported_by("import search.run") & SLOW


@pytest.mark.parametrize("optimizer", ["adamw", "nadam"])
def test_a_worker_trains_without_torchs_compiler_and_without_what_only_the_supervisor_needs(optimizer: str) -> None:
    imported = _imported_by(TRAIN.replace("OPTIMIZER", optimizer))
    assert not imported & ((SLOW - {"torch"}) | {"torch._dynamo", "triton"})
