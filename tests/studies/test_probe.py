"""A probe as part of a study: its candidates, and what the command line changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution

from data.errors import UserError
from models.config import BackboneConfig, FlexCNNConfig
from models.values import to_flat
from search.stage.pinning import pin_search
from studies.definition import Stage, Study, choice
from studies.flat import flatten
from studies.overrides import fix_fields, scale_epochs, scale_trials
from studies.probe import DEFAULT_BACKBONES, Probe, with_backbones

CONFIG = BackboneConfig(backbone="resnet50", dropout=0.1)
HEAD = Stage(name="head", trials=4, epochs=2, bases=2, space={"dropout": choice(0.0, 0.5)})


def study(*backbones: str, **changes: object) -> Study:
    probe = Probe(backbones=backbones) if backbones else Probe()
    return replace(Study(name="mine", description="", config=CONFIG, stages=(probe, HEAD)), **changes)


def test_each_backbone_is_a_trial_with_its_own_weights() -> None:
    made = study("resnet18", "timm/a=a.pt", "resnet18=none")
    pinned = pin_search(made, 0, made.stages[0], [CONFIG])
    configs = [to_flat(pinned.config(params)) for params in pinned.queue]
    assert [(config["backbone"], config["weights"]) for config in configs] == [
        ("resnet18", "default"),
        ("timm/a", "a.pt"),
        ("resnet18", "none"),
    ]
    assert all(config["dropout"] == 0.1 for config in configs)
    assert (pinned.trials, pinned.epochs, pinned.is_probe, pinned.probe_images) == (3, 1, True, 5000)


def test_without_weights_of_their_own_only_the_backbones_differ() -> None:
    assert study().stages[0].space_around(CONFIG) == {"backbone": CategoricalDistribution(DEFAULT_BACKBONES)}


def test_no_scale_changes_the_number_of_its_trials_or_epochs() -> None:
    scaled = scale_epochs(scale_trials(study("resnet18", "resnet50"), 10), 10)
    assert [(stage.trials, stage.epochs) for stage in scaled.stages] == [(2, 1), (40, 20)]


def test_a_study_whose_backbone_is_fixed_has_no_probe() -> None:
    assert [stage.name for stage in fix_fields(study(), {"backbone": "vgg16"}).stages] == ["head"]
    assert [stage.name for stage in fix_fields(study(), {"dropout": "0.3"}).stages] == ["probe", "head"]


def test_fixed_weights_are_those_of_all_candidates() -> None:
    fixed = fix_fields(study("resnet18"), {"weights": "none"})
    assert [config.weights for config in fixed.stages[0].configs(fixed.config)] == ["none"]  # type: ignore[attr-defined]


def test_the_command_line_names_other_candidates() -> None:
    named = with_backbones(study(), "resnet18, timm/a=b.pt")
    assert named.stages[0].backbones == ("resnet18", "timm/a=b.pt")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="mine has no probe stage; fix a backbone with --set backbone=NAME"):
        with_backbones(study(stages=(HEAD,)), "resnet18")


@pytest.mark.parametrize("backbones", [("resnet18", "resnet18"), ()])
def test_candidates_that_repeat_or_are_none_are_refused(backbones: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="probe: a probe needs backbones that all differ"):
        Probe(backbones=backbones)


def test_a_stage_cannot_extend_a_probe() -> None:
    with pytest.raises(UserError, match="extends: probe is a probe, which passes on backbones; use bases instead"):
        study(stages=(Probe(), replace(HEAD, bases=1, extends=True)))


def test_a_network_from_scratch_cannot_be_probed() -> None:
    with pytest.raises(UserError, match="backbone"):
        study(config=FlexCNNConfig())


def test_a_flat_study_draws_the_backbone() -> None:
    stages = (Probe(backbones=("resnet18", "resnet50")), HEAD, replace(HEAD, name="again"))
    (flat,) = flatten(study(stages=stages)).stages
    assert (flat.trials * flat.epochs, list(flat.space_around(CONFIG))) == (16, ["backbone", "dropout"])
    with pytest.raises(UserError, match="--flat: some backbones of probe have their own weights"):
        flatten(study(stages=(Probe(backbones=("resnet18=none",)), *stages[1:])))
