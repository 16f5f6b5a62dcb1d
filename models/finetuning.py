"""A classifier made of a pre-trained body and a new head; only a part of the body is trained."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.config import BackboneConfig
from models.flexcnn import ACTIVATIONS
from models.freezing import frozen_children
from models.fused import run_layers
from models.training.finetuned import WeightedLogits

_CONTAINERS = ("blocks", "stages", "layers")
"""Names that timm gives to the children which hold a network's stages in sequence."""


class Auxiliary(NamedTuple):
    """An auxiliary classifier on the output of a child, which is used in training only."""

    classifier: nn.Module
    last_layer: str
    """Name of the classifier's last nn.Linear, which is replaced to fit the number of classes."""
    weight: float
    """Weight of the auxiliary loss; the main loss has weight 1."""


class Body(NamedTuple):
    """A backbone without its classifier."""

    network: nn.Module
    """(N, 3, H, W) -> (N, features). An nn.Sequential if its children can be run one after the other."""
    features: int
    auxiliary: Mapping[str, Auxiliary]
    """Auxiliary classifiers by the name of the child whose output they take."""


class BackboneClassifier(nn.Module):
    """A body with a head: takes images of one or three channels and returns logits of shape (N, classes).

    In training, frozen children stay in eval mode, so that batch norms keep their statistics and nothing is dropped.
    With `train_batch_norm`, their batch norms are in training mode. The configuration's `freezing` decides which layers
    are trained; a new classifier is in the state of epoch 1.
    """

    def __init__(
        self, config: BackboneConfig, body: nn.Module, head: nn.Module, auxiliary: Mapping[str, Auxiliary]
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.auxiliary = nn.ModuleDict({name: branch.classifier for name, branch in auxiliary.items()})
        self.config = config
        self._branches = dict(auxiliary)
        self._frozen = 0
        self.begin_epoch(1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the logits (N, classes) of normalised images (N, channels, H, W)."""
        logits_NC: Tensor = self.head(run_layers([self.body], in_color(images_NCHW)))
        return logits_NC

    def children_in_order(self) -> list[tuple[str, nn.Module]]:
        """The body's children with their names, from the image to the head."""
        return children_in_order(self.body)

    @property
    def frozen(self) -> int:
        """The number of first children that are frozen now."""
        return self._frozen

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the layers that are not trained in this epoch, counted from 1."""
        children = self.children_in_order()
        self._frozen = frozen_children(self.config, epoch, [_has_parameters(child) for _, child in children])
        # A parameter outside all children, such as a class token, is used before the first child.
        self.body.requires_grad_(self._frozen == 0)
        for position, (name, child) in enumerate(children):
            child.requires_grad_(position >= self._frozen)
            if name in self.auxiliary:
                self.auxiliary[name].requires_grad_(self._learns_up_to(position))
        if self.config.train_batch_norm:
            for norm in _batch_norms(self.body):
                norm.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation mode; frozen children stay in evaluation mode."""
        super().train(mode)
        for _, child in self.children_in_order()[: self._frozen]:
            child.eval()
            if self.config.train_batch_norm:
                for norm in _batch_norms(child):
                    norm.train(mode)
        return self

    def training_logits(self, images_NCHW: Tensor) -> list[WeightedLogits]:
        """The logits, and the logits of each auxiliary classifier that has a trained layer before it."""
        if not self.auxiliary:
            return [WeightedLogits(1.0, self(images_NCHW))]
        values, branches = in_color(images_NCHW), []
        for position, (name, child) in enumerate(self.children_in_order()):
            values = child(values)
            if name in self.auxiliary and self._learns_up_to(position):
                branches.append(WeightedLogits(self._branches[name].weight, self.auxiliary[name](values)))
        return [WeightedLogits(1.0, self.head(values)), *branches]

    def rate_multipliers(self) -> dict[nn.Parameter, float]:
        """Each parameter's learning rate as a multiple of the configured one; it falls from child to child towards the
        image.
        """
        multipliers = dict.fromkeys(self.parameters(), 1.0)
        rate = 1.0
        for _, child in reversed(self.children_in_order()):
            if _has_parameters(child):
                rate *= self.config.layer_decay
                multipliers |= dict.fromkeys(child.parameters(), rate)
        return multipliers | dict.fromkeys(self.body.parameters(recurse=False), rate)

    @property
    def can_split(self) -> bool:
        """Whether the frozen children can be run separately, before the trained ones."""
        return isinstance(self.body, nn.Sequential) or self._frozen == len(self.children_in_order())

    def split(self) -> tuple[nn.Module, BackboneClassifier]:
        """The children that are frozen now, and a classifier made of the others that takes their output.

        Both share their parameters with this classifier, under the same names. Requires `can_split`.
        """
        assert self.can_split
        children = self.children_in_order()
        before = chain(children[: self._frozen]) if isinstance(self.body, nn.Sequential) else self.body
        after = chain(children[self._frozen :])
        auxiliary = {name: self._branches[name] for name, _ in children[self._frozen :] if name in self._branches}
        learning = BackboneClassifier(replace(self.config, freezing="unfreeze_all"), after, self.head, auxiliary)
        return nn.Sequential(InColor(), before), learning

    def _learns_up_to(self, position: int) -> bool:
        return position >= self._frozen or self.config.train_batch_norm


class InColor(nn.Module):
    """`in_color` as a layer."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return images (N, 3, H, W); gray images get three equal channels."""
        return in_color(images_NCHW)


def in_color(images_NCHW: Tensor) -> Tensor:
    """Repeat the channel of grayscale images three times; return other images unchanged."""
    if images_NCHW.ndim == 4 and images_NCHW.shape[1] == 1:
        return images_NCHW.expand(-1, 3, -1, -1)
    return images_NCHW


def build_head(config: BackboneConfig, features: int, classes: int) -> nn.Sequential:
    """Build a head, (N, features) -> logits (N, classes), with weights from PyTorch's global generator."""
    layers: dict[str, nn.Module] = {}
    if config.head_width:
        layers["dense"] = nn.Linear(features, config.head_width)
        layers["dense_activation"] = ACTIVATIONS[config.head_activation]()
    if config.dropout:
        layers["dropout"] = nn.Dropout(config.dropout)
    layers["output"] = nn.Linear(config.head_width or features, classes)
    return chain(layers.items())


def chain(layers: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    """An nn.Sequential of named layers."""
    return nn.Sequential(OrderedDict(layers))


def children_in_order(body: nn.Module) -> list[tuple[str, nn.Module]]:
    """A body's children with their names; a container of stages is replaced by its stages."""
    children: list[tuple[str, nn.Module]] = []
    for name, child in body.named_children():
        if name in _CONTAINERS and isinstance(child, nn.Sequential | nn.ModuleList):
            children += [(f"{name}_{inner}", stage) for inner, stage in child.named_children()]
        elif not isinstance(child, nn.Identity):
            children.append((name, child))
    return children


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]
