"""A probe of real photographs: six backbones with random weights, one with real ones, one whose file is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.archives import unpack
from tests.acceptance.service import Service

pytestmark = pytest.mark.slow

RANDOM = (
    "mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "timm/mobilenetv4_conv_small", "timm/efficientnet_b0",
    "timm/resnet10t",
)  # fmt: skip
REAL = "timm/tf_efficientnet_lite0"
STUDY = """
from models.config import BackboneConfig
from studies.definition import Confirm, Stage, Study, choice
from studies.probe import Probe

STUDY = Study(
    name="probed",
    description="Which backbone, then its head.",
    config=BackboneConfig(batch_size=32, learning_rate=3e-3),
    stages=(Probe(), Stage(name="head", trials=2, epochs=1, bases=2, space={"dropout": choice(0.0, 0.2)})),
    confirm=Confirm(finalists=1, seeds=1),
)
"""


def test_the_backbone_with_real_weights_wins_and_a_missing_one_is_named(
    service: Service, real_data: Path, tmp_path: Path
) -> None:
    unpack(real_data / "hymenoptera.tar.gz", "hymenoptera_data", tmp_path / "hymenoptera_data")
    (tmp_path / "probed.py").write_text(STUDY)
    weights = real_data / "tf_efficientnet_lite0-imagenet1k.pt"
    backbones = [*(f"{name}=none" for name in RANDOM), f"{REAL}={weights}", f"vgg16={tmp_path}/missing.pt"]
    ran = service.run(
        "search.run", "--study", str(tmp_path / "probed.py"), "--data", str(tmp_path / "hymenoptera_data"),
        "--backbones", ",".join(backbones), "--image-size", "96", "--workers", "2", "--json",
    )  # fmt: skip

    result = ran.json()
    probe = result["stages"][0]
    assert (probe["planned"], probe["complete"], probe["infeasible"]) == (8, 7, 1)
    assert result["champion"]["config"]["backbone"] == REAL
    assert f"probe: passes on {REAL}={weights} (" in ran.err
    assert f"probe: leaves out vgg16={tmp_path}/missing.pt: weights={tmp_path}/missing.pt: cannot be read" in ran.err
    report = Path(result["report"]).read_text()
    assert "best probe" in report and "left out: " in report
    assert result["wall_s"] < 120
