from __future__ import annotations

from typing import Any

import pytest

from data.errors import UserError
from models.config import FlexCNNConfig
from studies.definition import Ablation, Study
from studies.overrides import fix_fields, scale_epochs, scale_trials

NORM = {"without": {"batch_norm": False}, "with": {"batch_norm": True}}
DROPOUT = {"none": {"dropout": 0.0}, "some": {"dropout": 0.2}, "much": {"dropout": 0.5}}


def study(factors: dict[str, Any] | None = None, **changes: Any) -> Study:
    ablation = Ablation(**{"factors": factors or {"norm": NORM, "dropout": DROPOUT}, "epochs": 20} | changes)
    return Study(name="mine", description="", config=FlexCNNConfig(), ablation=ablation)


def test_the_cells_are_all_combinations_and_the_first_is_the_base_model() -> None:
    ablation = study().ablation
    assert ablation is not None and ablation.candidates == len(ablation.cells()) == 6
    assert ablation.cells()[0] == {"norm": "without", "dropout": "none"}
    assert ablation.values(ablation.cells()[-1]) == {"epochs": 20, "batch_norm": True, "dropout": 0.5}


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        ({"norm": {"with": {"batch_norm": True}}}, "factor 'norm' has no second level"),
        ({"a": NORM, "b": {"on": {"batch_norm": True}, "off": {}}}, "both 'a' and 'b' set batch_norm"),
        ({"norm": {"without": {}, "with": {"batch_nrm": True}}}, "unknown field 'batch_nrm'.*batch_norm"),
        ({"norm": {"without": {}, "with": {"batch_norm": True}}}, "'no norm' and 'norm' are the same"),
        ({"dropout": {"without": {}, "with": {"dropout": 1.5}}}, "dropout=1.5"),
    ],
)
def test_what_cannot_be_compared_is_an_error_when_the_study_is_defined(factors: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=f"mine/ablation: .*{says}"):
        study(factors)


def test_a_study_needs_a_stage_or_an_ablation() -> None:
    with pytest.raises(UserError, match="at least one stage, or an ablation"):
        Study(name="mine", description="", config=FlexCNNConfig())


def test_epochs_are_scaled_and_set_while_cells_and_seeds_stay() -> None:
    ablation = scale_epochs(scale_trials(study(), 0.1), 0.15).ablation
    assert ablation is not None and (ablation.epochs, ablation.seeds, ablation.candidates) == (3, 3, 6)
    fixed = fix_fields(study(), {"epochs": "7", "image_size": "32"})
    assert fixed.ablation is not None and fixed.ablation.epochs == 7 and fixed.config.image_size == 32


def test_a_field_that_a_factor_compares_cannot_be_fixed() -> None:
    with pytest.raises(UserError, match="mine: dropout cannot be fixed, because the factor 'dropout' varies it"):
        fix_fields(study(), {"dropout": 0.3})


def test_more_seeds_than_folds_are_refused_since_they_would_feign_certainty() -> None:
    with pytest.raises(UserError, match="mine: an ablation on 2 folds can have at most 2 seeds, not 3"):
        Study(name="mine", description="", config=FlexCNNConfig(), ablation=study().ablation, folds=2)


def test_an_imbalance_below_one_is_an_error() -> None:
    with pytest.raises(UserError, match=r"imbalance=0.1: give a number of 1 or more"):
        Study(name="mine", description="", config=FlexCNNConfig(), ablation=study().ablation, imbalance=0.1)
