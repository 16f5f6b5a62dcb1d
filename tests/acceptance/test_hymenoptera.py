"""The staged search on real photographs: all three stages of part A, made small."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.acceptance.service import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def hymenoptera(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ants and bees, unpacked."""
    folder = tmp_path_factory.mktemp("hymenoptera")
    with tarfile.open(real_data / "hymenoptera.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "hymenoptera_data"


def test_part_a_carries_its_bases_from_stage_to_stage(service: Service, hymenoptera: Path) -> None:
    small = ("--image-size", "32", "--trials-scale", "0.1", "--epochs-scale", "0.2")

    result = service.run("search.run", "--study", "partA", "--data", str(hymenoptera), *small, "--json").json()

    assert [stage["name"] for stage in result["stages"]] == ["architecture", "regularization", "schedule", "confirm"]
    assert [stage["planned"] for stage in result["stages"]][:3] == [6, 4, 3]
    assert all(stage["failed"] == 0 and stage["complete"] > 0 for stage in result["stages"])
    architectures = _completed_configs(service, "partA/1-architecture")
    for config in _completed_configs(service, "partA/3-schedule"):
        searched = {key: config[key] for key in ("conv_layers", "filters", "kernel_size", "optimizer")}
        assert any(searched.items() <= architecture.items() for architecture in architectures)
    assert result["champion"]["config"]["image_size"] == 32


def _completed_configs(service: Service, stage: str) -> list[dict[str, object]]:
    completed = [trial for trial in service.trials(stage) if trial.state == "COMPLETE"]
    return [service.attribute(trial.trial_id, "config") for trial in completed]
