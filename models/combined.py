"""Several trained networks as one: a soup of their weights, or the mean of their probabilities.

A soup costs as much as a single network at inference. An ensemble costs as much as all its members, except that layers
which they share, such as the frozen ones of a backbone, are run once. An average over mirrored images doubles the cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.config import TrainConfig
from models.finetuning import BackboneClassifier, in_color

Weights = Mapping[str, Tensor]


class Ensemble(nn.Module):
    """The mean of the probabilities of networks that take the same input.

    Takes images_NCHW and returns the logarithm of the mean probabilities, (N, classes), so that softmax gives the mean.
    """

    def __init__(self, members: Sequence[nn.Module], configs: Sequence[TrainConfig], *, mirror: bool = False) -> None:
        """`configs` are the configurations of the members. With `mirror`, each member also sees each image mirrored."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.configs = tuple(configs)
        self.mirror = mirror
        self._shared = 0
        self.find_shared_layers()

    def find_shared_layers(self) -> None:
        """Find the first layers that are equal in all members, which are run once. Call it after weights are loaded."""
        layers = [_body_layers(member) for member in self.members]
        self._shared = 0
        for same_place in zip(*layers, strict=False):
            if any(not _are_equal(same_place[0], layer) for layer in same_place[1:]):
                break
            self._shared += 1

    @property
    def passes(self) -> int:
        """Number of forward passes for each image."""
        return len(self.members) * (2 if self.mirror else 1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logarithms of mean probabilities, (N, classes)."""
        views = [images_NCHW, images_NCHW.flip(3)] if self.mirror else [images_NCHW]
        logits_PNC = torch.stack([logits_NC.float() for view in views for logits_NC in self._logits(view)])
        return logits_PNC.log_softmax(dim=-1).exp().mean(dim=0).clamp_min(torch.finfo(torch.float32).tiny).log()

    def _logits(self, images_NCHW: Tensor) -> Iterator[Tensor]:
        """The logits of each member, (N, classes)."""
        if self._shared == 0:
            yield from (member(images_NCHW) for member in self.members)
            return
        shared = in_color(images_NCHW)
        for layer in _body_layers(self.members[0])[: self._shared]:
            shared = layer(shared)
        for member in self.members:
            values = shared
            for layer in _body_layers(member)[self._shared :]:
                values = layer(values)
            yield member.get_submodule("head")(values)


def _body_layers(member: nn.Module) -> list[nn.Module]:
    """The children of a member's body, if they can be run one after the other; else none."""
    if isinstance(member, BackboneClassifier) and isinstance(member.body, nn.Sequential):
        return [layer for _, layer in member.children_in_order()]
    return []


def _are_equal(layer: nn.Module, other: nn.Module) -> bool:
    """Whether two layers compute the same in eval mode: they have the same structure, weights and statistics."""
    weights, others = layer.state_dict(), other.state_dict()
    return (
        repr(layer) == repr(other)
        and fit_together(weights, others)
        and all(torch.equal(weights[name], others[name]) for name in weights)
    )


def average_weights(ingredients: Sequence[Weights]) -> dict[str, Tensor]:
    """The uniform soup of weights of the same names and shapes; counters are those of the first ingredient.

    Source: Wortsman et al. 2022, Model soups (arXiv:2203.05482), section 2.
    """
    first = ingredients[0]
    return {
        name: torch.stack([weights[name] for weights in ingredients]).mean(dim=0) if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in first.items()
    }  # fmt: skip


def fit_together(weights: Weights, others: Weights) -> bool:
    """Whether two networks have weights of the same names and shapes."""
    return weights.keys() == others.keys() and all(weights[name].shape == others[name].shape for name in weights)


def learned_statistics(ingredients: Sequence[Weights], model: nn.Module) -> list[_BatchNorm]:
    """The batch norms of `model` whose statistics differ between the ingredients, because each learned its own."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and any(
            not torch.equal(ingredients[0][f"{name}.{buffer}"], weights[f"{name}.{buffer}"])
            for weights in ingredients[1:]
            for buffer in ("running_mean", "running_var")
        )
    ]


@torch.no_grad()
def measure_statistics(model: nn.Module, norms: Sequence[_BatchNorm], batches: Iterable[Tensor]) -> None:
    """Replace the statistics of these batch norms by those of images_NCHW that pass the network.

    Leaves the network in eval mode. The mean weights do not have the mean statistics. Source: Izmailov et al. 2018,
    Averaging weights leads to wider optima (arXiv:1803.05407), section 3.2.
    """
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # The mean over all batches.
        norm.train()
    for images_NCHW in batches:
        model(images_NCHW)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
