"""Configurations of a stage as points."""

from __future__ import annotations

from random import Random

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from models.values import to_flat, with_values
from search import names
from search.stage.distributions import holds
from search.stage.pinning import pin_search
from search.stage.points import Points
from studies.definition import choice, when
from tests.search.conftest import CONFIG, tiny

SPACE = {
    "scheduler": choice("cosine", "step"),
    "step_gamma": when(choice(0.1, 0.3, 0.5), scheduler="step"),
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "conv_layers": IntDistribution(1, 5),
}


def points(**changes: object) -> Points:
    study = tiny(**{"space": SPACE} | changes)
    return Points(pin_search(study, 0, study.stages[0], [CONFIG]))


def test_ranges_are_scaled_numbers_ranked_and_choices_are_a_unit_apart() -> None:
    stage = points()
    step = stage.point({"scheduler": "step", "step_gamma": 0.3, "learning_rate": 1e-3, "conv_layers": 2})
    assert step[2:] == pytest.approx([0.5, 0.25, 0.5])
    cosine = stage.point({"scheduler": "cosine", "learning_rate": 1e-4, "conv_layers": 5})
    assert cosine[2:] == pytest.approx([0.0, 1.0, 0.5])  # The parameter that does not exist lies in the middle.
    assert sum((a - b) ** 2 for a, b in zip(step[:2], cosine[:2], strict=True)) == pytest.approx(1.0)


def test_draws_and_neighbours_lie_in_the_space_and_keep_its_conditions() -> None:
    stage, random = points(), Random(0)
    values = stage.draw(random)
    seen = set()
    for _ in range(200):
        before, values = values, stage.neighbour(values, random)
        assert holds(SPACE["learning_rate"], values["learning_rate"]) and values["conv_layers"] in range(1, 6)
        assert ("step_gamma" in values) == (values["scheduler"] == "step")
        changed = {name for name in before.keys() & values.keys() if before[name] != values[name]}
        assert len(changed) <= 3
        seen.add((values["scheduler"], values.get("step_gamma"), values["conv_layers"]))
    assert len(seen) == (1 + 3) * 5


def test_a_trial_of_an_earlier_stage_has_its_configuration_s_value_of_a_parameter_that_it_did_not_search() -> None:
    config = with_values(CONFIG, {"scheduler": "step", "step_gamma": 0.5, "learning_rate": 1e-2, "conv_layers": 1})
    trial = create_trial(
        value=0.5, params={"conv_layers": 1}, distributions={"conv_layers": IntDistribution(1, 5)},
        user_attrs={names.CONFIG: to_flat(config)},
    )  # fmt: skip
    stage = points()
    assert stage.point(stage.values(trial))[2:] == pytest.approx([1.0, 0.0, 1.0])


def test_a_value_outside_the_range_lies_at_its_nearer_end() -> None:
    stage = points(space={"weight_decay": FloatDistribution(1e-4, 0.8, log=True)})
    assert [stage.point({"weight_decay": value}) for value in (0.0, 1e-4, 5.0)] == [[0.0], [0.0], [1.0]]


def test_bases_are_a_coordinate_of_their_own() -> None:
    study = tiny(space={"dropout": FloatDistribution(0.0, 0.5)}, bases=2)
    stage = Points(pin_search(study, 0, study.stages[0], [CONFIG, with_values(CONFIG, {"filters": 8})]))
    one, two = (stage.point({names.BASE: base, "dropout": 0.25}) for base in (0, 1))
    assert one[0] == two[0] == pytest.approx(0.5) and one[1:] != two[1:]
