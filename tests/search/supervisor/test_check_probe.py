from __future__ import annotations

import pytest

from data.errors import UserError
from models.config import BackboneConfig
from search.supervisor.check_weights import check_weights
from studies.definition import Study
from studies.probe import Probe


def check(*backbones: str) -> None:
    check_weights(Study(name="s", description="", config=BackboneConfig(), stages=(Probe(backbones=backbones),)))


def test_one_backbone_with_weights_is_enough() -> None:
    check("resnet18=nowhere.pt", "mobilenet_v3_small=none")


def test_without_any_it_is_an_error_with_the_first_reason() -> None:
    with pytest.raises(
        UserError, match=r"s/probe: none of its 2 backbones has usable weights.*nowhere.pt: cannot be read"
    ):
        check("mobilenet_v3_small=nowhere.pt", "resnet18=nowhere.pt")


def test_a_name_that_no_library_has_is_an_error() -> None:
    with pytest.raises(UserError, match=r"unknown backbone 'resnet81'\. Did you mean 'resnet18'\?"):
        check("mobilenet_v3_small=none", "resnet81=none")
