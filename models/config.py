"""Every hyperparameter: its name, meaning, unit, range and default.

`TrainConfig` holds what all families share; each family adds its own fields in a subclass, so a configuration is
flat and a field has one spelling from here through Optuna and MLflow to the report's columns.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

Optimizer = Literal["adam", "nadam", "radam", "adamw", "sgd"]
Scheduler = Literal["constant", "cosine", "step", "one_cycle"]
Activation = Literal["relu", "leaky_relu", "gelu", "silu", "mish", "elu"]
ImageFit = Literal["crop", "pad", "squash"]
Precision = Literal["auto", "bf16", "fp32"]
Freezing = Literal["freeze_all", "freeze_partial", "freeze_first", "unfreeze_all", "head_first", "gradual"]

_FILTER_ORGANISATIONS = {"equal": 1.0, "doubling": 2.0, "halving": 0.5}
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


def _split_commas(value: Any) -> Any:
    """'3' -> 3 and '3,4,5' -> (3, 4, 5), as typed on a command line; anything else is left alone."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        return parts[0] if len(parts) == 1 else tuple(parts)
    return tuple(value) if isinstance(value, list) else value


def _organisation_to_factor(value: Any) -> Any:
    return _FILTER_ORGANISATIONS.get(value, value) if isinstance(value, str) else value


PositiveInt = Annotated[int, Field(ge=1)]
OneOrPerLayer = Annotated[PositiveInt | tuple[PositiveInt, ...], BeforeValidator(_split_commas)]
Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
ClassWeighting = Literal["none", "inverse_frequency", "effective_number"]
ClassWeights = Annotated[ClassWeighting | tuple[NonNegative, ...], BeforeValidator(_split_commas)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """What every model family shares: images, augmentation, optimisation."""

    model: str
    """Name of the family in `models.registry.MODELS`."""

    # Images
    image_size: PositiveInt = 224
    """Height and width in pixels that the network sees."""
    image_fit: ImageFit = "crop"
    """How a picture that is not square becomes square: centre `crop`, `pad` with black, or `squash`."""

    # Augmentation, of training images only, drawn for each image
    flip: Probability = 0.0
    """Probability of a horizontal mirror."""
    flip_alternating: bool = False
    """Mirror each image in every other epoch instead, half of them in the first (Jordan 2024, section 3.6)."""
    crop_padding: Annotated[int, Field(ge=0)] = 0
    """Pixels reflected on each side before a random crop back to size."""
    resized_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the area kept by a random resized crop; 1 switches it off."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation in degrees, either way."""
    color_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strength of random brightness, contrast and saturation."""
    erasing: Probability = 0.0
    """Probability of blanking a random rectangle."""
    mixup: NonNegative = 0.0
    """Alpha of the Beta distribution that two images are mixed with; 0 switches it off."""
    cutmix: NonNegative = 0.0
    """Alpha of the Beta distribution of the area pasted from another image; 0 switches it off."""

    # Optimisation
    epochs: PositiveInt = 15
    """Passes over the training images; `patience` may end a training sooner."""
    batch_size: PositiveInt = 64
    """Images per step of the optimiser."""
    optimizer: Optimizer = "adamw"
    """`sgd` has momentum; the others adapt their rates."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Per step, after warm-up; the schedule's highest."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD, with Nesterov's correction if `nesterov`."""
    nesterov: bool = True
    """SGD looks ahead along its momentum."""
    weight_decay: NonNegative = 0.0
    """Decoupled for AdamW; added to the gradient for the others. Norms and biases are left out."""
    scheduler: Scheduler = "constant"
    """`cosine` falls to 0, `step` falls by `step_gamma`, `one_cycle` rises first and then falls (Smith 2018)."""
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear warm-up before the schedule; for `one_cycle` the length of the rise (0: 30 %)."""
    step_epochs: PositiveInt = 5
    """`step`: the learning rate is multiplied by `step_gamma` every so many epochs."""
    step_gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    """What `step` multiplies the learning rate by."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes."""
    class_weights: ClassWeights = "none"
    """Weight of each class in the loss: `inverse_frequency`, one over its share of the training images;
    `effective_number`, the same with a share that saturates (Cui et al. 2019); or a number per class, as in `1,20`."""
    effective_number_beta: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """`effective_number`: 0 weighs all classes the same, towards 1 it becomes `inverse_frequency`."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """Images of an epoch: each of them once; or `balanced`, as many, every class equally often, with replacement."""
    focal_gamma: NonNegative = 0.0
    """An image counts (1 - p)^gamma in the loss, p being the probability of its class: what is easy counts less
    (focal loss, Lin et al. 2017, who use 2); 0 is plain cross-entropy."""
    gradient_clip: NonNegative = 0.0
    """Largest norm of the gradient; 0 switches clipping off."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the moving average of the weights that is validated and kept; 0 switches it off."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after so many epochs without a better validation metric; 0 switches it off."""
    precision: Precision = "auto"
    """`auto`: bfloat16 autocast where the device is faster with it."""
    keep_checkpoints: bool = False
    """Keep the state after every epoch: `sieve resume` trains on from any of them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FlexCNNConfig(TrainConfig):
    """A plain network: blocks of conv -> (batch norm) -> activation -> (dropout) -> pool, then dense layers."""

    model: str = "flexcnn"
    """This family's name."""
    conv_layers: PositiveInt = 5
    """Blocks, one conv each."""
    filters: OneOrPerLayer = 32
    """Filters of the first layer, or one number per layer; `filter_factor` then plays no part."""
    filter_factor: Annotated[float, Field(gt=0), BeforeValidator(_organisation_to_factor)] = 1.0
    """Filters of a layer over those of the layer before: `equal` 1, `doubling` 2, `halving` 0.5, or any factor."""
    kernel_size: OneOrPerLayer = 3
    """Pixels, one for all layers or one per layer."""
    padding: Annotated[int, Field(ge=0)] | Literal["same"] = "same"
    """Zero pixels added on each side of every conv; `same` keeps the size at stride 1."""
    stride: PositiveInt = 1
    """Of every conv."""
    activation: Activation = "relu"
    """After every conv, and after the dense layer unless `dense_activation` says otherwise."""
    dense_activation: Activation | Literal["same"] = "same"
    """After the hidden dense layer; `same`: as `activation`."""
    pooling: Literal["max", "avg", "none"] = "max"
    """After each block: the largest value of a window, their mean, or nothing."""
    pool_size: PositiveInt = 2
    """Window and stride of the pooling after each block, in pixels."""
    head_pooling: Literal["flatten", "avg"] = "flatten"
    """What turns the last feature maps into a vector: all values, or their mean per channel."""
    batch_norm: bool = True
    """After every conv; the conv then has no bias."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the values, or channels, dropped in training."""
    dropout_where: Literal["dense", "conv", "both"] = "dense"
    """`conv` drops whole channels after each block; `dense` drops values before the last layer."""
    dense_width: Annotated[int, Field(ge=0)] = 128
    """Neurons of the hidden dense layer; 0 leaves it out."""
    init: Literal["torch", "he_normal"] = "torch"
    """First weights: as torch draws them; or normal with variance 2 / inputs of a neuron, biases 0 (He et al. 2015)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BackboneConfig(TrainConfig):
    """A network trained elsewhere, with a new head: linear, or a hidden dense layer before it."""

    model: str = "backbone"
    """This family's name."""
    image_size: Annotated[int, Field(ge=0)] = 0
    """Height and width in pixels that the network sees; 0: what the backbone was trained with."""
    backbone: str = "resnet18"
    """A name in `models.backbones.BACKBONES`, or `timm/NAME` for any network of timm."""
    weights: str = "default"
    """`default`: the library's download; `none`: random; or the path of a file of tensors (`.pt`, `.safetensors`)."""

    stem: Literal["published", "small"] = "published"
    """`small`: a ResNet's first convolution is 3x3 with stride 1, without a pooling after it, for images of about 32 px
    (He et al. 2016, section 4.2); with `weights=none` alone."""

    # What learns besides the head. A backbone's children, in order, are what `describe_children` lists.
    freezing: Freezing = "freeze_all"
    """`freeze_all`: nothing; `freeze_partial`: the last children; `freeze_first`: all but the first children;
    `unfreeze_all`: everything; `head_first`: nothing, later everything (Kumar et al. 2022, LP-FT); `gradual`: nothing,
    later one child after the other, from the last to the first (Howard and Ruder 2018, ULMFiT)."""
    trainable_children: PositiveInt = 1
    """`freeze_partial`: so many of the last children that have parameters learn."""
    frozen_children: Annotated[int, Field(ge=0)] = 1
    """`freeze_first`: so many of the first children are frozen, counting those without parameters."""
    train_batch_norm: bool = False
    """Batch norms learn, and follow the images' statistics, in frozen children too."""
    head_epochs: Probability = 0.3
    """`head_first`, `gradual`: share of the epochs in which only the head learns."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of a child over that of the one after it; 1: one rate for all. The head has the configured one."""

    # The head
    head_width: Annotated[int, Field(ge=0)] = 0
    """Neurons of the hidden dense layer; 0: the head is linear."""
    head_activation: Activation = "gelu"
    """After the hidden dense layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the values dropped before the last layer."""
