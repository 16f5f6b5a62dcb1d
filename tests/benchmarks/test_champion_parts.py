from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.champion_parts import (
    CPU,
    DEFAULT_PARTS,
    FOLDS,
    TRAINED,
    combine,
    measure,
    start_config,
    stored_runs,
    train,
)
from benchmarks.champion_parts import _parser as parser
from benchmarks.champion_table import ENSEMBLE, OF_WHOLE, SINGLE, SOUP, START, WHOLE
from data.errors import UserError
from data.spec import DataSpec
from models.config import BackboneConfig
from search.trials.workload import WorkloadBuilder, open_workload_builder
from tests.search.conftest import settings_at


@pytest.fixture(scope="module")
def workloads(tmp_path_factory: pytest.TempPathFactory) -> WorkloadBuilder:
    spec = DataSpec(source="digits", folds=FOLDS, train_images=100)
    return open_workload_builder(spec, settings_at(tmp_path_factory.mktemp("parts")), CPU)


@pytest.fixture(scope="module")
def config() -> BackboneConfig:
    options = parser().parse_args(["--data", "digits", "--weights", "none", "--home", "home", "--epochs", "1"])
    return replace(start_config(options), backbone="mobilenet_v3_small", image_size=32)


@pytest.mark.slow
def test_a_soup_and_an_ensemble_of_equal_runs_are_that_run(workloads: WorkloadBuilder, config: BackboneConfig) -> None:
    trained = train(workloads, config, START, fold=1, seed=1)
    made = {run.part: run for run in combine(workloads, config, 1, [trained, trained])}
    assert trained.run.accuracy == made[SINGLE].accuracy == made[ENSEMBLE].accuracy == made[SOUP].accuracy
    assert made[SOUP].loss == pytest.approx(made[SINGLE].loss, rel=1e-4)


def test_a_part_is_trained_on_the_seed_of_its_fold(workloads: WorkloadBuilder, config: BackboneConfig) -> None:
    (run,) = measure(workloads, config, "dropout", fold=2)
    again = train(workloads, replace(config, dropout=0.2), "dropout", fold=2, seed=2).run
    assert (run.fold, run.seed, run.accuracy, run.loss) == (2, 2, again.accuracy, again.loss)


def test_every_part_changes_fields_of_the_start_and_those_of_the_whole_network_are_asked_for_by_name(
    config: BackboneConfig,
) -> None:
    assert all(hasattr(config, name) for values in TRAINED.values() for name in values)
    assert set(TRAINED) - set(DEFAULT_PARTS) == {WHOLE, *OF_WHOLE}


def test_stored_runs_of_other_settings_are_not_overwritten() -> None:
    settings = {"data": "ants", "images": 0}
    assert stored_runs("parts", None, settings) == []
    assert stored_runs("parts", {**settings, "runs": [{"fold": 1}]}, settings) == [{"fold": 1}]
    with pytest.raises(UserError, match=r"results/parts\.json was measured with another images"):
        stored_runs("parts", {**settings, "images": 50, "runs": []}, settings)
