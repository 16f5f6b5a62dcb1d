"""A probe: the first stage of a study on pre-trained networks, which finds out which backbones suit the images.

    Probe(backbones=("resnet50", "timm/tf_efficientnet_lite0=lite0.pt"), images=5000)

Each backbone is a trial. All images pass it once, a linear classifier is fitted to the stored features, and its result
on validation is the trial's value. The stage after it searches around the best of them (`bases`). Of the candidates it
takes those with the best probes and the one with the best published ImageNet accuracy: neither rank alone is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from data.errors import UserError
from models.config import BackboneConfig, TrainConfig
from studies.definition import Pruner, Sampler, Space, Stage, Study, Value, choice

DEFAULT_BACKBONES = (
    "mobilenet_v3_small",
    "timm/mobilenetv4_conv_small.e2400_r224_in1k",
    "mobilenet_v3_large",
    "timm/tf_efficientnet_lite0.in1k",
    "timm/tiny_vit_5m_224.dist_in22k_ft_in1k",
    "resnet50",
    "convnext_tiny",
    "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
    "efficientnet_v2_s",
    "timm/convnext_small.in12k_ft_in1k",
    "timm/convnext_base.fb_in22k_ft_in1k",
    "timm/vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
)
"""From small to large: 0.06 to 17.6 billion multiply-accumulates for one image. Their weights take 1.3 GB, and their
licences allow any use."""


@dataclass(frozen=True, kw_only=True)
class Probe(Stage):
    """A stage with one trial for each backbone; its sampler, pruner, trials and epochs follow from that."""

    is_probe: ClassVar[bool] = True

    name: str = "probe"
    backbones: tuple[str, ...] = DEFAULT_BACKBONES
    """Names, each optionally with its own weights: `resnet18`, `resnet18=none`, `timm/NAME=FILE`. Smaller ones first:
    if the time budget ends the stage, the last ones are skipped."""
    images: int = 5000
    """Most training images, and most validation images, that pass each backbone; of more, as many are sampled from each
    class in proportion."""
    space: Space | Callable[[TrainConfig], Space] = field(default_factory=dict)
    """Follows from `backbones`."""
    trials: int = 0
    epochs: int = 1
    sampler: Sampler = "grid"
    pruner: Pruner = "none"

    def __post_init__(self) -> None:
        if not self.backbones or len(set(self.backbones)) < len(self.backbones) or self.images < 1:
            raise UserError(f"{self.name}: a probe needs backbones that all differ, and at least one image")
        # Whatever scales a study's stages leaves these as they are.
        for name, value in {"trials": len(self.backbones), "epochs": 1, "sampler": "grid", "pruner": "none"}.items():
            object.__setattr__(self, name, value)

    def space_around(self, base: TrainConfig) -> Space:
        """The choices among which the candidates are."""
        return {name: choice(*values) for name, values in self._values(base).items()}

    def queue(self, base: TrainConfig) -> list[Mapping[str, Value]]:
        """The parameters of each trial."""
        varied = self._values(base)
        return [{name: value for name, value in own.items() if name in varied} for own in self._candidates(base)]

    def configs(self, base: TrainConfig) -> list[BackboneConfig]:
        """The configuration of each candidate. Raises UserError if the study does not use backbones."""
        if not isinstance(base, BackboneConfig):
            raise UserError(f"{self.name}: a probe compares backbones; the study's config must be a BackboneConfig")
        return [replace(base, backbone=own["backbone"], weights=own["weights"]) for own in self._candidates(base)]

    def _values(self, base: TrainConfig) -> dict[str, tuple[str, ...]]:
        """The different values of each field that the candidates vary."""
        columns: dict[str, dict[str, None]] = {"backbone": {}, "weights": {}}
        for own in self._candidates(base):
            for name, value in own.items():
                columns[name][value] = None
        # Without weights of their own, all candidates use those of the study.
        return {name: tuple(values) for name, values in columns.items() if name == "backbone" or self._own_weights}

    def _candidates(self, base: TrainConfig) -> list[dict[str, str]]:
        shared = base.weights if isinstance(base, BackboneConfig) else ""
        split = (text.partition("=") for text in self.backbones)
        return [{"backbone": name, "weights": weights or shared} for name, _, weights in split]

    @property
    def _own_weights(self) -> bool:
        return any("=" in text for text in self.backbones)


def probe_of(study: Study) -> tuple[int, Probe] | None:
    """The position of a study's first probe, and the probe; None if it has none."""
    return next(((at, stage) for at, stage in enumerate(study.stages) if isinstance(stage, Probe)), None)


def with_backbones(study: Study, backbones: str) -> Study:
    """The study with these candidates, separated by commas, in its probes. Raises UserError if it has no probe."""
    if probe_of(study) is None:
        raise UserError(f"--backbones: {study.name} has no probe stage; fix a backbone with --set backbone=NAME")
    names = tuple(part.strip() for part in backbones.split(",") if part.strip())
    stages = tuple(replace(stage, backbones=names) if isinstance(stage, Probe) else stage for stage in study.stages)
    return replace(study, stages=stages)


def without_probes(study: Study) -> Study:
    """The study without its probes, for a backbone that is fixed."""
    stages = tuple(stage for stage in study.stages if not isinstance(stage, Probe))
    return study if len(stages) == len(study.stages) or not stages else replace(study, stages=stages)
