"""The five workloads of the throughput benchmark, each with 64 configurations drawn in advance.

The configurations are the trials of a random stage, which Sieve draws when it pins the stage. Every contender receives
this table with its seeds and builds the same networks from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from optuna.distributions import FloatDistribution

from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.values import with_values
from search.stage.pinning import pin_search
from search.store.pinned_stage import PinnedStage
from studies.definition import Confirm, Space, Stage, Study, choice

TRIALS = 64
"""Configurations in a workload; slow contenders train as many of them as their time allows."""

_SPACE: Space = {
    "learning_rate": FloatDistribution(3e-4, 3e-3, log=True),
    "weight_decay": FloatDistribution(1e-5, 1e-3, log=True),
    "dropout": choice(0.0, 0.2, 0.4),
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One workload: data, network, and the time that each contender gets."""

    title: str
    device: Literal["cpu", "cuda"]
    images: int
    """Training and validation images to take from the data, stratified by class; all images if there are fewer."""
    val_share: float
    config: TrainConfig
    contenders: tuple[str, ...]
    """Contenders that are measured by default."""
    box_s: dict[str, float]
    """Seconds after which a contender starts no further trial in a block, by contender."""
    block_trials: int
    """Configurations in a block; ours trains all of them, the others as many as their time allows."""
    rounds: int
    """Turns of each contender, each followed by a turn of ours, so that other load on the machine affects all alike."""
    limit_s: float
    """Wall time of the whole benchmark in seconds; a block that no longer fits is left out."""
    images_per_s_limit: float | None
    """Highest possible images per second of one core or GPU; see `docs/benchmarks.md`."""
    targets: dict[str, float]
    """Ratio of our trials per hour to another contender's that we aim for, by contender."""
    epochs_share: float = 1.0
    """Trained epochs as a share of the whole workload's. Rates are always computed for whole trials."""
    others_trials: int | None = None
    """Maximum trials of each other contender in a block, with a single turn of ours; None: as many as time allows."""


_FIVE_CONV = FlexCNNConfig(image_size=32, conv_layers=5, filters=32, filter_factor=1.0, batch_size=128, epochs=10)
# A trial of A takes minutes here, and one is enough: `benchmarks.frozen_reference` computes A's other accuracies.
_HEAD_BOX_S = {"A": 120.0, "A+": 120.0, "B": 120.0, "C": 120.0}
_HEAD = BackboneConfig(backbone="resnet18", image_size=160, freezing="freeze_all", batch_size=32, epochs=20)
_SHORT_BOX_S = {"A": 150.0, "A+": 40.0, "B": 100.0, "C": 100.0}
_LONG_BOX_S = {"A": 240.0, "A+": 120.0, "B": 240.0, "C": 240.0}

WORKLOADS = {
    "W1": Workload(
        title="CIFAR-10 10k/2k, 32 px, five convs of 32 filters, 10 epochs",
        device="cpu",
        images=12_000,
        val_share=1 / 6,
        config=_FIVE_CONV,
        contenders=("A", "A+", "ours"),
        box_s=_SHORT_BOX_S,
        block_trials=4,
        rounds=2,
        limit_s=780,
        images_per_s_limit=5_200,
        targets={"A": 5, "A+": 2.5},
    ),
    "W2": Workload(
        title="2,000 images at 160 px, a new head on a frozen backbone, 20 epochs",
        device="cpu",
        images=2_000,
        val_share=0.2,
        config=_HEAD,
        contenders=("A", "ours-alone", "ours"),
        box_s=_HEAD_BOX_S,
        block_trials=TRIALS,
        rounds=1,
        limit_s=3_600,
        images_per_s_limit=None,
        targets={"A": 200},
    ),
    "W3": Workload(
        title="CIFAR-10 45k/5k, 32 px, ResNet-18 with a small stem from scratch, 20 epochs",
        device="cuda",
        images=50_000,
        val_share=0.1,
        config=BackboneConfig(
            backbone="resnet18",
            weights="none",
            stem="small",
            image_size=32,
            freezing="unfreeze_all",
            batch_size=128,
            epochs=20,
        ),
        contenders=("A", "A+", "ours"),
        box_s=_SHORT_BOX_S,
        block_trials=8,
        rounds=1,
        limit_s=1_800,
        images_per_s_limit=None,
        targets={"A": 10},
    ),
    "W4": Workload(
        title="8k/2k images at 224 px, five convs of 32 filters, 20 epochs",
        device="cuda",
        images=10_000,
        val_share=0.2,
        config=replace(_FIVE_CONV, image_size=224, epochs=20),
        contenders=("A", "A+", "ours"),
        box_s=_LONG_BOX_S,
        block_trials=16,
        rounds=1,
        limit_s=1_800,
        images_per_s_limit=85_000,
        targets={"A": 30, "A+": 8},
    ),
    "W5": Workload(
        title="8k/2k images at 224 px, the last child of a ResNet-50 and a new head, 10 epochs",
        device="cuda",
        images=10_000,
        val_share=0.2,
        config=BackboneConfig(backbone="resnet50", image_size=224, freezing="freeze_partial", batch_size=64, epochs=10),
        contenders=("A", "A+", "ours"),
        box_s=_LONG_BOX_S,
        block_trials=16,
        rounds=1,
        limit_s=1_800,
        images_per_s_limit=None,
        targets={"A": 3},
    ),
}


def shortened(
    workload: Workload,
    *,
    epochs: int | None = None,
    trials: int | None = None,
    box_s: float | None = None,
    configs: int | None = None,
) -> Workload:
    """Return the workload with other epochs, trials and seconds of other contenders, or configurations per block.

    None leaves a value as it is.
    """
    short = replace(
        workload,
        block_trials=configs or workload.block_trials,
        others_trials=trials or workload.others_trials,
        box_s=dict.fromkeys(workload.box_s, box_s) if box_s else workload.box_s,
    )
    if not epochs:
        return short
    return replace(
        short,
        title=f"{workload.title} ({epochs} of them trained)",
        config=with_values(workload.config, {"epochs": epochs}),
        epochs_share=epochs / workload.config.epochs,
    )


def study_of(workload: Workload, block: int) -> Study:
    """Return the study that trains a block of the workload's configurations; every block draws its own."""
    stage = Stage(
        name="block",
        trials=workload.block_trials,
        epochs=workload.config.epochs,
        sampler="random",
        pruner="none",  # The benchmark compares finished trials.
        space=_SPACE,
    )
    return Study(
        name=f"block-{block}",
        description=workload.title,
        config=workload.config,
        stages=(stage,),
        confirm=Confirm(finalists=1, seeds=1, epochs=1),
        seed=block,
    )


def pinned_block(study: Study) -> PinnedStage:
    """Pin a block's configurations and seeds as the service does."""
    return pin_search(study, 0, study.stages[0], [study.config])
