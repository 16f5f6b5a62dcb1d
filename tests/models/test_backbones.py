from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from data.arrays import ImageSet
from data.augment import Augmentation
from data.batches import EvalBatches, TrainBatches, to_device
from data.errors import InfeasibleConfig, UserError
from models import torchvision_bodies
from models.backbones import BACKBONES, describe_children, preprocessing, resolved
from models.bundle import load_bundle, save_bundle
from models.config import BackboneConfig, FlexCNNConfig
from models.finetuning import BackboneClassifier
from models.registry import build_model
from models.registry import preprocessing as preprocessing_of_any
from models.registry import resolved as resolved_any
from models.training.fit import fit

CPU = torch.device("cpu")
SMALLEST = {"inception_v3": 75, "efficientnet_v2_s": 33}
"""Pixels, where a family takes no images of 32."""
STATISTICS = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


def _noise(images: int, size: int) -> ImageSet:
    pool = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), dtype=np.uint8)
    return ImageSet(pool_NHWC=pool, rows_M=np.arange(images), labels_M=np.arange(images) % 3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_family_builds_freezes_trains_a_step_and_comes_back_from_its_bundle(
    backbone: str, tmp_path: Path
) -> None:
    size = SMALLEST.get(backbone, 32)
    config = BackboneConfig(
        backbone=backbone,
        weights="none",
        image_size=size,
        freezing="freeze_partial",
        trainable_children=1,
        head_width=8,
        dropout=0.1,
        epochs=1,
        batch_size=4,
    )
    torch.manual_seed(0)
    model = build_model(config, (3, size, size), 3)
    assert isinstance(model, BackboneClassifier)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = to_device(_noise(4, size), CPU)
    train = TrainBatches(images, batch_size=4, augmentation=Augmentation(), **STATISTICS)

    epochs = list(
        fit(model, train, EvalBatches(images, batch_size=4, **STATISTICS), config, classes=3, device=CPU, seed=0)
    )

    assert len(epochs) == 1 and np.isfinite(epochs[0].val_loss)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    with_parameters = [name for name, child in model.children_in_order() if list(child.parameters())]
    assert {".".join(name.split(".")[:2]) for name in changed} == {
        f"body.{with_parameters[-1]}", "head.dense", "head.output"
    }  # fmt: skip

    save_bundle(tmp_path / "b", model, config, classes=("a", "b", "c"), input_shape=(3, size, size), **STATISTICS)
    loaded = load_bundle(tmp_path / "b")
    probabilities = loaded.predict_proba(_noise(4, size).pool_NHWC)
    with torch.inference_mode():
        expected = model.eval()(next(iter(EvalBatches(images, batch_size=4, **STATISTICS))).images_NCHW).softmax(1)
    np.testing.assert_allclose(probabilities, expected.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "vit_b_16"])
def test_a_network_taken_apart_computes_what_torchvisions_does(backbone: str) -> None:
    size, family = SMALLEST.get(backbone, 32), torchvision_bodies.FAMILIES[backbone]
    torch.manual_seed(0)
    whole = torchvision.models.get_model(backbone, weights=None, **family.options).eval()
    *_, classifier = (layer for layer in whole.modules() if isinstance(layer, nn.Linear))
    images = torch.randn(2, 3, size, size)

    with torch.inference_mode():
        values = images
        for _, child in family.children(whole):
            values = child(values)

        torch.testing.assert_close(classifier(values), whole(images))


def test_a_vision_transformer_is_taken_apart_and_its_positions_follow_the_image_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = torchvision.models.vit_b_16(image_size=64).eval()
    nn.init.normal_(whole.heads.head.weight)
    torch.save(whole.state_dict(), tmp_path / "vit.pt")
    images = torch.randn(2, 3, 64, 64)

    body = torchvision_bodies.build_body("vit_b_16", str(tmp_path / "vit.pt"), 64)
    smaller = torchvision_bodies.build_body("vit_b_16", str(tmp_path / "vit.pt"), 32)

    with torch.inference_mode():
        torch.testing.assert_close(whole.heads(body.network.eval()(images)), whole(images))
        assert smaller.network(images[:, :, :32, :32]).shape == (2, 768)


def test_auxiliary_classifiers_are_learned_from_only_where_they_teach_the_body() -> None:
    def outputs(**fields: object) -> list[float]:
        config = BackboneConfig(backbone="googlenet", weights="none", **fields)  # type: ignore[arg-type]
        model = build_model(config, (3, 32, 32), 3)
        assert isinstance(model, BackboneClassifier)
        logits = model.training_logits(torch.randn(2, 3, 32, 32))
        assert all(output.logits_NC.shape == (2, 3) for output in logits)
        return [output.weight for output in logits]

    assert outputs(freezing="unfreeze_all") == [1, 0.3, 0.3]
    assert outputs(freezing="freeze_partial", trainable_children=4) == [1, 0.3]  # 4d to 5b
    assert outputs(freezing="freeze_all") == [1]


def test_inception_has_its_auxiliary_classifier_at_its_own_size_only() -> None:
    config = BackboneConfig(backbone="inception_v3", weights="none", freezing="unfreeze_all")
    for size, branches in ((75, 0), (299, 1)):
        model = build_model(config, (3, size, size), 3)
        assert isinstance(model, BackboneClassifier)
        assert len(model.auxiliary) == branches


def test_a_backbone_brings_its_own_size_and_statistics_unless_it_is_random() -> None:
    inception = BackboneConfig(backbone="inception_v3")
    assert resolved(inception).image_size == 299
    own = preprocessing(inception)
    assert own is not None and own.mean == (0.5,) * 3 and own.interpolation == "bilinear"

    resnet = BackboneConfig(backbone="resnet18", image_size=64)
    assert resolved(resnet) == resnet
    own = preprocessing(resnet)
    assert own is not None and own.image_size == 64 and own.mean == (0.485, 0.456, 0.406)
    assert own.for_channels(1).mean == pytest.approx((0.449,))

    assert preprocessing(BackboneConfig(weights="none")) is None
    assert preprocessing_of_any(FlexCNNConfig()) is None
    assert resolved_any(FlexCNNConfig()) == FlexCNNConfig()


def test_the_children_are_described_in_order() -> None:
    lines = describe_children(BackboneConfig(backbone="resnet18"))

    assert lines[0] == "1 conv1 (9,408 parameters)"
    assert [line.split()[1] for line in lines[4:]] == ["layer1", "layer2", "layer3", "layer4", "avgpool"]


def test_a_small_stem_keeps_the_pixels_of_a_small_image() -> None:
    config = BackboneConfig(
        backbone="resnet18", weights="none", stem="small", image_size=32, freezing="unfreeze_all", batch_size=4
    )
    model = build_model(config, (3, 32, 32), 10)
    assert isinstance(model, BackboneClassifier)
    body = model.body
    assert isinstance(body, torch.nn.Sequential)
    assert body[:5](torch.zeros(1, 3, 32, 32)).shape == (1, 64, 32, 32)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert describe_children(config)[0] == "1 conv1 (1,728 parameters)"


@pytest.mark.parametrize(
    "config",
    [
        BackboneConfig(backbone="resnet18", stem="small"),
        BackboneConfig(backbone="googlenet", weights="none", stem="small"),
        BackboneConfig(backbone="timm/resnet18", weights="none", stem="small"),
    ],
    ids=["with weights", "another network", "of timm"],
)
def test_a_small_stem_is_refused_where_there_is_none(config: BackboneConfig) -> None:
    with pytest.raises(UserError, match="stem=small is for resnet18 and resnet50 with weights=none, not for"):
        resolved(config)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet81", "unknown backbone 'resnet81'. Did you mean 'resnet18'?; any network of timm is timm/NAME"),
        ("timm/resnet188", "unknown backbone 'timm/resnet188'. Did you mean 'timm/resnet18'?"),
    ],
)
def test_an_unknown_backbone_is_refused_with_the_nearest_spelling(backbone: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        resolved(BackboneConfig(backbone=backbone))

    assert str(refusal.value) == message


def test_without_timm_its_backbones_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(UserError, match=r"need timm; install it with `pip install sieve-search\[timm\]`"):
        resolved(BackboneConfig(backbone="timm/resnet18"))


@pytest.mark.parametrize(
    ("backbone", "size", "message"),
    [
        ("vit_b_16", 40, "cuts images into patches of 16 px"),
        ("inception_v3", 64, "needs at least 75 px"),
        ("timm/test_vit", 7, "image_size=7: timm/test_vit"),
    ],
)
def test_images_of_a_size_that_a_backbone_cannot_take_are_infeasible(backbone: str, size: int, message: str) -> None:
    with pytest.raises(InfeasibleConfig, match=message):
        build_model(BackboneConfig(backbone=backbone, weights="none"), (3, size, size), 3)


@pytest.mark.parametrize(
    ("backbone", "in_a_row"), [("test_efficientnet", True), ("test_resnet", True), ("test_vit", False)]
)
def test_a_network_of_timm_is_a_backbone_too(backbone: str, in_a_row: bool, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    whole = timm.create_model(backbone, num_classes=7).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    config = BackboneConfig(backbone=f"timm/{backbone}", weights=str(tmp_path / "w.pt"))
    size = resolved(config).image_size

    model = build_model(config, (3, size, size), 3)

    assert isinstance(model, BackboneClassifier) and size == 160
    assert isinstance(model.body, nn.Sequential) is in_a_row
    assert len(model.children_in_order()) > 3
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(model.body.eval()(images), whole.forward_head(whole.forward_features(images), True))


def test_what_pretrained_weights_replace_does_not_move_the_heads_own_draws(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pt")
    config = BackboneConfig(weights=str(tmp_path / "w.pt"))
    heads = []
    for _ in range(2):  # the second time the weights are in memory
        torch.manual_seed(3)
        heads.append(build_model(config, (3, 32, 32), 3).get_parameter("head.output.weight"))

    assert torch.equal(*heads)
