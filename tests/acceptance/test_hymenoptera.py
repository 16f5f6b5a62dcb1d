"""The staged search on real photographs: all three stages of part A, made small."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.archives import unpack
from tests.acceptance.forks import run_on
from tests.acceptance.service import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def hymenoptera(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ants and bees, unpacked."""
    folder = tmp_path_factory.mktemp("hymenoptera") / "hymenoptera_data"
    unpack(real_data / "hymenoptera.tar.gz", "hymenoptera_data", folder)
    return folder


def test_each_stage_of_part_a_searches_what_the_stages_before_searched_and_more(
    service: Service, hymenoptera: Path
) -> None:
    small = ("--image-size", "32", "--trials-scale", "0.1", "--epochs-scale", "0.2")

    result = run_on(service, "search.run", "--study", "partA", "--data", str(hymenoptera), *small, "--json").json()

    assert [stage["name"] for stage in result["stages"]] == ["architecture", "regularization", "schedule", "confirm"]
    assert [stage["planned"] for stage in result["stages"]][:3] == [2, 4, 7]
    assert all(stage["failed"] == 0 for stage in result["stages"])
    assert sum(stage["complete"] for stage in result["stages"][:3]) > 0
    searched = [_searched(service, f"partA/{stage}") for stage in ("1-architecture", "2-regularization", "3-schedule")]
    assert {"conv_layers", "learning_rate"} <= searched[0] < searched[1] < searched[2]
    assert "dropout" in searched[1] - searched[0] and "scheduler" in searched[2] - searched[1]
    assert result["champion"]["config"]["image_size"] == 32


def _searched(service: Service, stage: str) -> set[object]:
    """The parameters that the trials of a stage drew."""
    return {name for _, _, name, _ in service.parameters(stage)}
