"""Every hyperparameter: its name, meaning, unit, range and default.

`TrainConfig` holds what all families share; each family adds its own fields in a subclass, so a configuration is
flat and a field has one spelling from here through Optuna and MLflow to the report's columns.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from data.policy_names import Policy

Optimizer = Literal["adam", "nadam", "radam", "adamw", "sgd"]
Scheduler = Literal["constant", "cosine", "step", "one_cycle"]
Activation = Literal["relu", "leaky_relu", "gelu", "silu", "mish", "elu"]
ImageFit = Literal["crop", "pad", "squash"]
Precision = Literal["auto", "bf16", "fp32"]
Freezing = Literal["freeze_all", "freeze_partial", "freeze_first", "unfreeze_all", "head_first", "gradual"]

_FILTER_ORGANISATIONS = {"equal": 1.0, "doubling": 2.0, "halving": 0.5}
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


def _split_commas(value: Any) -> Any:
    """'3' -> 3 and '3,4,5' -> (3, 4, 5), as typed on a command line; other values are returned unchanged."""
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
    """The fields that every model family has: images, augmentation, optimisation."""

    model: str
    """Name of the family in `models.registry.MODELS`."""

    # Images
    image_size: PositiveInt = 224
    """Height and width in pixels that the network sees."""
    image_fit: ImageFit = "crop"
    """How an image that is not square is made square: centre `crop`, `pad` with black, or `squash`."""

    # Augmentation: of training images only, drawn for each image
    flip: Probability = 0.0
    """Probability of a horizontal mirror."""
    flip_alternating: bool = False
    """Instead of at random, mirror each image in every other epoch, half of the images in the first epoch (Jordan 2024,
    section 3.6)."""
    crop_padding: Annotated[int, Field(ge=0)] = 0
    """Pixels added by reflection on each side before a random crop to the original size."""
    resized_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the area kept by a random resized crop; 1 switches it off."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation in degrees, in either direction."""
    auto_augment: Policy = "none"
    """Policy of further operations: `trivial_augment`, a random operation of random strength for each image (Müller and
    Hutter 2021); `rand_augment`, two operations of medium strength (Cubuk et al. 2020)."""
    color_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strength of random brightness, contrast and saturation."""
    erasing: Probability = 0.0
    """Probability of blanking a random rectangle."""
    mixup: NonNegative = 0.0
    """Alpha of the Beta distribution that sets the proportions of two mixed images; 0 switches it off."""
    cutmix: NonNegative = 0.0
    """Alpha of the Beta distribution that sets the area pasted from another image; 0 switches it off."""

    # Optimisation
    epochs: PositiveInt = 15
    """Passes over the training images; `patience` may end training earlier."""
    batch_size: PositiveInt = 64
    """Images per step of the optimiser."""
    optimizer: Optimizer = "adamw"
    """`sgd` uses momentum; the others adapt the step size of each parameter."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate of the schedule, reached after warm-up."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD, with Nesterov's correction if `nesterov`."""
    nesterov: bool = True
    """SGD uses Nesterov momentum."""
    weight_decay: NonNegative = 0.0
    """Weight decay: decoupled in AdamW, added to the gradient in the others. Norms and biases do not decay."""
    scheduler: Scheduler = "constant"
    """`cosine` falls to 0, `step` falls by `step_gamma`, `one_cycle` rises first and then falls (Smith 2018)."""
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear warm-up before the schedule; for `one_cycle`, epochs of the rise (0: 30 % of all epochs)."""
    step_epochs: PositiveInt = 5
    """`step`: number of epochs after which the learning rate is multiplied by `step_gamma`, again and again."""
    step_gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    """`step`: factor by which the learning rate is multiplied."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target probability that is spread evenly over all classes."""
    class_weights: ClassWeights = "none"
    """Weight of each class in the loss: `inverse_frequency`, the inverse of its share of the training images;
    `effective_number`, the same with a share that saturates (Cui et al. 2019); or a number per class, e.g. `1,20`."""
    effective_number_beta: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """`effective_number`: 0 weights all classes equally; towards 1 it approaches `inverse_frequency`."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """`shuffled`: an epoch has each image once; `balanced`: the same number of images, drawn with replacement so that
    every class is equally frequent."""
    focal_gamma: NonNegative = 0.0
    """Gamma of the focal loss (Lin et al. 2017, who use 2): the loss of an image is multiplied by (1 - p)^gamma, where
    p is the predicted probability of its class, so that easy images count less; 0 is plain cross-entropy."""
    gradient_clip: NonNegative = 0.0
    """Norm to which larger gradients are clipped; 0 switches clipping off."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the exponential moving average of the weights, which is validated and kept instead of the
    weights; 0 switches it off."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Number of epochs without a better validation metric after which training stops; 0 switches it off."""
    precision: Precision = "auto"
    """`auto`: bfloat16 autocast if the device is faster with it, else float32; `bf16`; `fp32`."""
    keep_checkpoints: bool = False
    """Keep the checkpoint of every epoch: `sieve resume` continues training from any of them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FlexCNNConfig(TrainConfig):
    """A plain network: blocks of conv -> (batch norm) -> activation -> (dropout) -> pool, then dense layers."""

    model: str = "flexcnn"
    """This family's name."""
    conv_layers: PositiveInt = 5
    """Number of blocks, each with one conv layer."""
    filters: OneOrPerLayer = 32
    """Filters of the first conv layer; or a number for each layer, and `filter_factor` is then not used."""
    filter_factor: Annotated[float, Field(gt=0), BeforeValidator(_organisation_to_factor)] = 1.0
    """Filters of a layer divided by those of the layer before: `equal` (1), `doubling` (2), `halving` (0.5), or any
    number."""
    kernel_size: OneOrPerLayer = 3
    """Height and width of the kernels in pixels: one number for all layers, or a number for each layer."""
    padding: Annotated[int, Field(ge=0)] | Literal["same"] = "same"
    """Zero pixels added on each side of every conv; `same` keeps the size at stride 1."""
    stride: PositiveInt = 1
    """Stride of every conv layer."""
    activation: Activation = "relu"
    """Activation after every conv layer, and after the dense layer unless `dense_activation` names another."""
    dense_activation: Activation | Literal["same"] = "same"
    """Activation after the hidden dense layer; `same`: as `activation`."""
    pooling: Literal["max", "avg", "none"] = "max"
    """Pooling after each block: the largest value of each window, the mean, or none."""
    pool_size: PositiveInt = 2
    """Window and stride of the pooling after each block, in pixels."""
    head_pooling: Literal["flatten", "avg"] = "flatten"
    """How the last feature maps become a vector: all values, or the mean of each channel."""
    batch_norm: bool = True
    """Batch norm after every conv layer, which then has no bias."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the values, or of the channels, that are dropped in training."""
    dropout_where: Literal["dense", "conv", "both"] = "dense"
    """`conv`: drop whole channels after each block; `dense`: drop values before the last layer; `both`."""
    dense_width: Annotated[int, Field(ge=0)] = 128
    """Neurons of the hidden dense layer; 0 leaves it out."""
    init: Literal["torch", "he_normal"] = "torch"
    """Initial weights: PyTorch's default; or normal with variance 2 / fan-in, and zero biases (He et al. 2015)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BackboneConfig(TrainConfig):
    """A pre-trained network with a new head, which is linear or has one hidden layer."""

    model: str = "backbone"
    """This family's name."""
    image_size: Annotated[int, Field(ge=0)] = 0
    """Height and width in pixels that the network sees; 0: the size that the backbone was trained with."""
    backbone: str = "resnet18"
    """A name in `models.backbones.BACKBONES`, or `timm/NAME` for any network of timm."""
    weights: str = "default"
    """`default`: the library's download; `none`: random weights; or the path of a `.pt` or `.safetensors` file."""

    stem: Literal["published", "small"] = "published"
    """`small`: the first convolution of a ResNet is 3x3 with stride 1 and without pooling, for images of about 32 px
    (He et al. 2016, section 4.2); only with `weights=none`."""

    # The layers that are trained besides the head. `describe_children` lists a backbone's children in order.
    freezing: Freezing = "freeze_all"
    """Layers of the backbone that are trained. `freeze_all`: none; `freeze_partial`: the last children; `freeze_first`:
    all but the first children; `unfreeze_all`: all; `head_first`: first none, later all (Kumar et al. 2022, LP-FT);
    `gradual`: first none, then one child after the other, beginning with the last (Howard and Ruder 2018, ULMFiT). The
    children are the blocks into which a backbone is divided, from input to output."""
    trainable_children: PositiveInt = 1
    """`freeze_partial`: number of last children that are trained, counting only those with parameters."""
    frozen_children: Annotated[int, Field(ge=0)] = 1
    """`freeze_first`: number of first children that are frozen, including those without parameters."""
    train_batch_norm: bool = False
    """Train batch norms in frozen children too, and update their statistics."""
    head_epochs: Probability = 0.3
    """`head_first`, `gradual`: share of the epochs in which only the head is trained; at least one of several epochs,
    unless it is 0."""
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] | Literal["published"] = "published"
    """Probability with which the last residual block is skipped in training, falling linearly towards the first block
    (Huang et al. 2016); `published`: as the backbone's library builds it. No effect on backbones without it."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of a child divided by that of the next child; 1: the same rate for all. The head uses
    `learning_rate`."""

    # The head
    head_width: Annotated[int, Field(ge=0)] = 0
    """Neurons of the head's hidden layer; 0: the head is linear."""
    head_activation: Activation = "gelu"
    """Activation after the head's hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the values that are dropped before the last layer, in training."""
