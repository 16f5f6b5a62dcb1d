from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.bundle import load_bundle, save_bundle
from models.combined import Ensemble, average_weights, fit_together, learned_statistics, measure_statistics
from models.config import BackboneConfig, FlexCNNConfig
from models.registry import build_model
from models.serving_graph import ServingGraph

SMALL = FlexCNNConfig(image_size=8, conv_layers=1, filters=4, dense_width=0)
LARGE = FlexCNNConfig(image_size=8, conv_layers=2, filters=6, dense_width=8)
IMAGES_NHWC = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def network(config: FlexCNNConfig, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(config, (3, 8, 8), 3).eval()


def probabilities(model: nn.Module, images_NCHW: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images_NCHW).softmax(dim=1)


def test_an_ensemble_gives_the_mean_of_its_members_probabilities() -> None:
    members, images = [network(SMALL, 0), network(LARGE, 1)], torch.randn(4, 3, 8, 8)
    ensemble = Ensemble(members, [SMALL, LARGE])
    mean = torch.stack([probabilities(member, images) for member in members]).mean(dim=0)
    torch.testing.assert_close(probabilities(ensemble, images), mean)
    assert ensemble.passes == 2


def test_a_mirrored_classifier_answers_alike_for_an_image_and_its_mirror_image() -> None:
    model, images = network(SMALL, 0), torch.randn(4, 3, 8, 8)
    mirrored = Ensemble([model], [SMALL], mirror=True)
    mean = (probabilities(model, images) + probabilities(model, images.flip(3))) / 2
    torch.testing.assert_close(probabilities(mirrored, images), mean)
    torch.testing.assert_close(probabilities(mirrored, images.flip(3)), mean)
    assert mirrored.passes == 2


def test_a_certain_answer_stays_finite() -> None:
    class Certain(nn.Module):
        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[300.0, -300.0]]).expand(len(images_NCHW), -1)

    logits = Ensemble([Certain(), Certain()], [SMALL, SMALL])(torch.zeros(2, 3, 8, 8))
    assert logits.isfinite().all() and logits.softmax(dim=1)[0, 0] == 1


@pytest.mark.parametrize("mirror", [False, True])
def test_a_bundle_and_its_graph_answer_as_the_ensemble_does(tmp_path: Path, mirror: bool) -> None:
    ensemble = Ensemble([network(SMALL, 0), network(LARGE, 1)], [SMALL, LARGE], mirror=mirror)
    facts = {"classes": ("a", "b", "c"), "input_shape": (3, 8, 8), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    save_bundle(tmp_path / "bundle", ensemble, SMALL, **facts)
    loaded = load_bundle(tmp_path / "bundle")
    assert isinstance(loaded.model, Ensemble) and loaded.model.mirror == mirror
    assert loaded.model.configs == (SMALL, LARGE)
    shift, scale = (torch.tensor(facts[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    images_NCHW = (torch.from_numpy(IMAGES_NHWC).permute(0, 3, 1, 2) / 255 - shift) / scale
    expected = probabilities(ensemble, images_NCHW)
    np.testing.assert_allclose(loaded.predict_proba(IMAGES_NHWC), expected, atol=1e-6)
    with torch.inference_mode():
        graph = ServingGraph(loaded).eval()(torch.from_numpy(IMAGES_NHWC))
    np.testing.assert_allclose(graph, expected, atol=1e-6)


def test_frozen_layers_that_the_members_share_are_run_once(tmp_path: Path) -> None:
    config = BackboneConfig(
        weights="none", backbone="resnet18", image_size=8, freezing="freeze_partial", trainable_children=1
    )
    torch.manual_seed(0)
    first = build_model(config, (3, 8, 8), 3).eval()
    members = [first, *(copy.deepcopy(first) for _ in range(2))]
    for member in members[1:]:
        nn.init.normal_(member.get_parameter("head.output.weight"))
        nn.init.normal_(member.get_parameter("body.layer4.0.conv1.weight"), std=0.1)
    ensemble = Ensemble(members, [config] * 3, mirror=True)
    calls: list[str] = []
    for name in ("body.conv1", "body.layer3", "body.layer4"):
        for member in members:
            member.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    images = torch.randn(4, 3, 8, 8)

    together = probabilities(ensemble, images)

    assert Counter(calls) == {"body.conv1": 2, "body.layer3": 2, "body.layer4": 6}  # Each for both views.
    alone = [probabilities(member, view) for member in members for view in (images, images.flip(3))]
    torch.testing.assert_close(together, torch.stack(alone).mean(dim=0))

    facts = {"classes": ("a", "b", "c"), "input_shape": (3, 8, 8), "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    save_bundle(tmp_path / "bundle", ensemble, config, **facts)
    loaded = load_bundle(tmp_path / "bundle").model
    loaded.get_submodule("members.1.body.layer3").register_forward_hook(lambda *_: pytest.fail("it is run once only"))
    torch.testing.assert_close(probabilities(loaded, images), together)


def test_layers_with_other_statistics_are_not_shared() -> None:
    config = BackboneConfig(weights="none", backbone="resnet18", image_size=8)
    torch.manual_seed(0)
    first = build_model(config, (3, 8, 8), 3).eval()
    other = copy.deepcopy(first)
    other.get_buffer("body.bn1.running_mean").add_(1)
    images = torch.randn(4, 3, 8, 8)
    mean = (probabilities(first, images) + probabilities(other, images)) / 2
    torch.testing.assert_close(probabilities(Ensemble([first, other], [config] * 2), images), mean)


def test_a_soup_is_the_mean_of_the_weights_and_keeps_counters() -> None:
    weights = [network(SMALL, seed).state_dict() for seed in range(3)]
    soup = average_weights(weights)
    for name, tensor in soup.items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, weights[0][name])
        else:
            torch.testing.assert_close(tensor, sum(each[name] for each in weights) / 3)
    assert fit_together(weights[0], weights[1])
    assert not fit_together(weights[0], network(LARGE, 0).state_dict())


def test_only_batch_norms_that_learned_their_own_statistics_are_measured_again() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).eval()
    nn.init.constant_(model[0].running_mean, 7)
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    second = {**first, "2.running_mean": first["2.running_mean"] + 1}
    norms = learned_statistics([first, second], model)
    assert norms == [model[2]]
    batches = [torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    measure_statistics(model, norms, batches)
    assert torch.equal(model[0].running_mean, first["0.running_mean"]) and model[2].momentum == 0.1
    with torch.inference_mode():
        inner = torch.cat([model[1](model[0](batch)) for batch in batches])
    torch.testing.assert_close(model[2].running_mean, inner.mean(dim=(0, 2, 3)))
    assert not any(module.training for module in model.modules())
    assert learned_statistics([first, first], model) == []
