"""The backbones that a probe passes on."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from models.config import BackboneConfig
from models.imagenet_accuracy import imagenet_top1
from models.values import to_flat
from search import names
from search.stage.bases import handed_on
from search.stage.pinning import pin_search
from search.stage.shortlist import probe_lines, shortlist
from search.store.pinned_stage import PinnedStage
from studies.definition import Study
from studies.probe import DEFAULT_BACKBONES, Probe

CONFIG = BackboneConfig()
# From the best probe to the worst; on ImageNet convnext_tiny is best of those with weights.
PROBED = {"resnet18": 0.9, "resnet50": 0.8, "timm/unknown=file.pt": 0.7, "convnext_tiny": 0.6, "vit_b_16=none": 0.5}
MACS = {"resnet18": 30, "resnet50": 10, "timm/unknown=file.pt": 20, "convnext_tiny": 40, "vit_b_16=none": 5}


def stage(**changes: Any) -> PinnedStage:
    probe = Probe(backbones=(*PROBED, "vgg16", "googlenet"), **changes)
    study = Study(name="s", description="", config=CONFIG, stages=(probe,))
    return pin_search(study, 0, probe, [CONFIG])


def trials(pinned: PinnedStage) -> list[FrozenTrial]:
    made = []
    for number, (name, params) in enumerate(zip((*PROBED, "vgg16", "googlenet"), pinned.queue, strict=True)):
        attributes: dict[str, Any] = {names.CONFIG: to_flat(pinned.config(params))}
        if name in PROBED:
            done: dict[str, Any] = {"state": TrialState.COMPLETE, "value": PROBED[name]}
            attributes[names.MACS] = MACS[name]
        else:
            done = {"state": TrialState.PRUNED}
            if name == "vgg16":
                attributes[names.REASON] = "weights=default: no network; give a file"
        made.append(create_trial(user_attrs=attributes, **done))
        made[-1].number = number
    return made


def taken(count: int, **changes: Any) -> list[tuple[str, str]]:
    pinned = stage(**changes)
    return [
        (trial.user_attrs[names.CONFIG]["backbone"], why) for trial, why in shortlist(pinned, trials(pinned), count)
    ]


def test_the_best_on_imagenet_takes_the_last_place() -> None:
    assert taken(3) == [
        ("resnet18", "best probe"),
        ("resnet50", "good probe"),
        ("convnext_tiny", "best on ImageNet"),
    ]


def test_it_takes_no_place_if_its_probe_is_among_the_best() -> None:
    assert [name for name, _ in taken(4)] == ["resnet18", "resnet50", "timm/unknown", "convnext_tiny"]


def test_a_single_place_belongs_to_the_best_probe() -> None:
    assert taken(1) == [("resnet18", "best probe")]


def test_with_a_cost_only_cheaper_ones_follow_the_best_probe() -> None:
    assert taken(4, against="macs") == [
        ("resnet18", "best probe"),
        ("resnet50", "cheaper"),
        ("vit_b_16", "cheaper"),
        ("convnext_tiny", "best on ImageNet"),
    ]


def test_the_next_stage_gets_the_configurations_with_their_weights() -> None:
    pinned = stage()
    configs = [config for _, config in handed_on(pinned, trials(pinned), 4)]
    assert [(config.backbone, config.weights) for config in configs if isinstance(config, BackboneConfig)] == [
        ("resnet18", "default"), ("resnet50", "default"), ("timm/unknown", "file.pt"), ("convnext_tiny", "default"),
    ]  # fmt: skip


def test_the_lines_name_those_that_were_left_out() -> None:
    pinned = stage()
    assert probe_lines(pinned, trials(pinned), 2) == [
        "probe: leaves out vgg16: weights=default: no network",
        "probe: leaves out googlenet: the time budget was used up",
        "probe: passes on resnet18 (0.9000, best probe), convnext_tiny (0.6000, best on ImageNet)",
    ]


def test_every_default_backbone_has_a_published_accuracy() -> None:
    ranks = [imagenet_top1(backbone) for backbone in DEFAULT_BACKBONES]
    assert all(top1 and 60 < top1 < 90 for top1 in ranks)


@pytest.mark.parametrize(
    ("backbone", "top1"),
    [("timm/tf_efficientnet_lite0", 74.8), ("timm/resnet50.a1_in1k", 80.4), ("timm/resnet50.other", None)],
)
def test_a_name_without_a_tag_stands_for_its_network(backbone: str, top1: float | None) -> None:
    assert imagenet_top1(backbone) == top1
