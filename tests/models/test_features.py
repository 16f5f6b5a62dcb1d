from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data.arrays import ImageSet, SearchData
from data.augment import Augmentation
from data.batches import EvalBatches, TrainBatches, to_device
from data.errors import InfeasibleConfig
from data.pixel_rule import PixelRule
from models.backbones import BACKBONES
from models.config import BackboneConfig
from models.finetuning import BackboneClassifier
from models.preprocessing import Preprocessing
from models.registry import build_model
from models.training.feature_store import FeatureStore
from models.training.features import Features, _fits, open_features, split_at_border
from models.training.fit import fit

CPU = torch.device("cpu")
MAPS_TOLERANCE = 2e-3
"""Largest difference between logits from stored maps and from images, both in float32, relative to the largest logit:
float16 keeps 11 bits of each value. Logits from stored vectors differ only by the order of sums."""
SEEN = Preprocessing(image_size=33, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")
STATISTICS = {"mean": SEEN.mean, "std": SEEN.std}
POOL = np.random.default_rng(0).integers(0, 256, (30, 33, 33, 3), dtype=np.uint8)


def _search_data(train: list[int], val: list[int], pool: np.ndarray = POOL) -> SearchData:
    train_rows, val_rows = np.array(train), np.array(val)
    return SearchData(
        sealed_fingerprint="sealed",
        train=ImageSet(pool_NHWC=pool, rows_M=train_rows, labels_M=train_rows % 3),
        val=ImageSet(pool_NHWC=pool, rows_M=val_rows, labels_M=val_rows % 3),
        classes=("a", "b", "c"),
        mean=(0.5,) * 3,
        std=(0.3,) * 3,
        fingerprint="f",
        split_hash="s",
        notes=(),
    )


DATA = _search_data(list(range(0, 30, 2)), list(range(1, 30, 2)))


def _config(**fields: Any) -> BackboneConfig:
    defaults: dict[str, Any] = {
        "backbone": "mobilenet_v3_small",
        "weights": "none",
        "image_size": 33,
        "trainable_children": 2,  # before the last one alone, a dense layer, there are vectors
        "precision": "fp32",
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 0.01,
    }
    return BackboneConfig(**{**defaults, **fields})


def _build(config: BackboneConfig) -> BackboneClassifier:
    torch.manual_seed(5)
    model = build_model(config, (3, 33, 33), 3)
    assert isinstance(model, BackboneClassifier)
    _calibrate(model)
    return model


def _calibrate(model: BackboneClassifier) -> None:
    """Give the batch norms the statistics of the images, as training would: a random network otherwise blows up."""
    model.eval()
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average
        norm.train()
    with torch.no_grad():
        model.body(torch.from_numpy(POOL).permute(0, 3, 1, 2) / 127.5 - 1)
    for norm in norms:
        assert norm.running_var is not None
        norm.running_var.clamp_(min=0.01)  # else channels that are all but constant blow up rounding errors
    model.train()


def _open(model: BackboneClassifier, config: BackboneConfig, home: Path, **options: Any) -> Features:
    parts = split_at_border(model)
    assert parts is not None
    features = open_features(
        FeatureStore(home), parts[0], options.pop("data", DATA), config, SEEN, device=CPU, **options
    )
    assert features is not None
    return features


def _logits(model: nn.Module, batches: Any) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(batch.images_NCHW) for batch in batches])


def _val_images(data: SearchData = DATA) -> EvalBatches:
    return EvalBatches(to_device(data.val, CPU), batch_size=7, **STATISTICS)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in ("inception_v3", "vgg16", "vit_b_16")])
@pytest.mark.parametrize("fields", [{"freezing": "freeze_all"}, {"freezing": "freeze_partial"}])
def test_the_frozen_part_and_the_learning_part_make_the_whole(
    backbone: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    config = _config(backbone=backbone, head_width=8, **fields)
    model = _build(config)
    parts = split_at_border(model)
    assert parts is not None
    frozen, learning = parts
    whole = _logits(model, _val_images())

    direct = torch.cat([learning.eval()(frozen.eval()(batch.images_NCHW)) for batch in _val_images()])
    stored = _logits(learning, _open(model, config, tmp_path).val_batches(4, CPU))

    torch.testing.assert_close(direct, whole, rtol=1e-4, atol=1e-5)
    if fields["freezing"] == "freeze_all":
        torch.testing.assert_close(stored, whole, rtol=1e-4, atol=1e-5)
    else:
        assert (stored - whole).abs().max() <= MAPS_TOLERANCE * whole.abs().max()


@pytest.mark.parametrize("freezing", ["freeze_all", "freeze_partial"])
def test_training_on_features_equals_training_the_whole_network(freezing: str, tmp_path: Path) -> None:
    config = _config(freezing=freezing, dropout=0.2)
    on_images, on_features = _build(config), _build(config)
    train = TrainBatches(to_device(DATA.train, CPU), batch_size=4, augmentation=Augmentation(), **STATISTICS)
    options: dict[str, Any] = {"classes": 3, "device": CPU, "seed": 0}

    slow = list(fit(on_images, train, _val_images(), config, **options))
    features = _open(on_features, config, tmp_path)
    learning = split_at_border(on_features)[1]  # type: ignore[index]
    fast = list(fit(learning, features.train_batches(config, CPU), features.val_batches(7, CPU), config, **options))

    tolerance = 1e-4 if freezing == "freeze_all" else 0.02
    assert [epoch.val_loss for epoch in fast] == pytest.approx([epoch.val_loss for epoch in slow], rel=tolerance)
    stored = _logits(learning, features.val_batches(4, CPU))
    whole = _logits(on_features, _val_images())
    assert (stored - whole).abs().max() <= MAPS_TOLERANCE * whole.abs().max()
    assert not torch.equal(on_features.head.output.weight, _build(config).head.output.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"freezing": "unfreeze_all"},
        {"freezing": "gradual"},
        {"freezing": "head_first"},
        {"freezing": "freeze_all", "train_batch_norm": True},
        {"freezing": "freeze_all", "cutmix": 1.0},
        {"freezing": "freeze_first", "frozen_children": 0},
        {"freezing": "freeze_partial", "backbone": "timm/test_vit", "image_size": 160},
    ],
    ids=str,
)
def test_there_is_no_border_where_features_would_not_stay_the_same(fields: dict[str, Any]) -> None:
    config = _config(**fields)
    model = build_model(config, (3, config.image_size, config.image_size), 3)
    assert isinstance(model, BackboneClassifier)

    assert split_at_border(model) is None


def test_folds_of_the_same_images_share_their_features(tmp_path: Path) -> None:
    model, config = _build(_config()), _config(flip=0.5)
    home = tmp_path / "f"
    first = _open(model, config, home, views=2, folds=True)

    swapped = _search_data(list(range(1, 30, 2)), list(range(0, 30, 2)))
    features = _open(model, config, home, views=2, folds=True, data=swapped)

    assert len(list(home.glob("*/values.npy"))) == 1 and len(first.stored.values) == 60
    stored = _logits(split_at_border(model)[1], features.val_batches(4, CPU))  # type: ignore[index]
    torch.testing.assert_close(stored, _logits(model, _val_images(swapped)), rtol=1e-4, atol=1e-5)


def test_other_weights_pixels_statistics_or_borders_are_other_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = _config(), _build(_config())
    _open(model, config, tmp_path)
    model.body[0][0].weight.data[0, 0, 0, 0] += 1  # type: ignore[index,union-attr]
    _open(model, config, tmp_path)
    _open(_build(_config(freezing="freeze_partial")), _config(freezing="freeze_partial"), tmp_path)
    _open(model, dataclasses.replace(config, image_fit="pad"), tmp_path)
    _open(model, config, tmp_path, data=dataclasses.replace(DATA, fingerprint="g"))
    assert len(list(tmp_path.glob("*/values.npy"))) == 5

    _open(model, dataclasses.replace(config, learning_rate=0.5, dropout=0.5), tmp_path)
    assert len(list(tmp_path.glob("*/values.npy"))) == 5

    on_black = dataclasses.replace(DATA, pixel_rule=PixelRule(background="black"))
    _open(model, config, tmp_path, data=on_black)
    _open(model, config, tmp_path, data=dataclasses.replace(DATA, pixel_rule=PixelRule(value_range=(0, 4095))))
    monkeypatch.setattr("models.training.features.DECODER_VERSION", 1000)
    _open(model, config, tmp_path)
    assert len(list(tmp_path.glob("*/values.npy"))) == 8


def test_features_that_are_stored_need_no_images_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, model = _config(flip=0.5), _build(_config())
    computed = _open(model, config, tmp_path, views=2)

    def refuse(*_: object) -> None:
        raise AssertionError("images were placed")

    monkeypatch.setattr("models.training.extraction.to_device", refuse)
    np.testing.assert_array_equal(_open(model, config, tmp_path, views=2).stored.values, computed.stored.values)


def test_training_and_validation_share_one_copy_of_the_features(tmp_path: Path) -> None:
    config, device = _config(), torch.device("meta")
    features = _open(_build(config), config, tmp_path)

    train, again, val = (
        features.train_batches(config, device), features.train_batches(config, device), features.val_batches(4, device)
    )  # fmt: skip

    assert train.images.pool_NHWC is again.images.pool_NHWC is val.images.pool_NHWC
    assert train.images.pool_NHWC.device == train.images.device == device


def test_memory_that_torch_keeps_for_later_is_free_for_features(monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes = [0]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free_bytes.append(2000))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes[-1], 4000))

    assert _fits(1000, torch.device("cuda")) and not _fits(1001, torch.device("cuda"))


def test_views_are_augmented_but_the_first_and_only_training_sees_them(tmp_path: Path) -> None:
    config = _config(flip=0.5, crop_padding=4)
    model = _build(config)
    features = _open(model, config, tmp_path, views=3)
    assert len(features.stored.values) == 30 + 2 * 15, "validation images have augmented views too"
    images, *views = np.split(features.stored.values, (30, 45))

    plain = _open(model, dataclasses.replace(config, flip=0.0, crop_padding=0), tmp_path, views=3)
    assert plain.views == 1
    np.testing.assert_allclose(images, plain.stored.values, rtol=1e-4, atol=1e-6)
    assert not np.allclose(images[::2], views[0]) and not np.allclose(views[0], views[1])

    learning = split_at_border(model)[1]  # type: ignore[index]
    stored = _logits(learning, features.val_batches(4, CPU))
    torch.testing.assert_close(stored, _logits(model, _val_images()), rtol=1e-4, atol=1e-5)
    train = features.train_batches(config, CPU)
    assert len(train) == 3 and len(train.order(torch.Generator().manual_seed(0))) == 15
    seen = torch.cat([train.order(torch.Generator().manual_seed(seed)) for seed in range(20)])
    assert set((seen // 15).tolist()) == {0, 1, 2}


def test_with_flips_alone_the_views_are_each_image_and_its_mirror_image(tmp_path: Path) -> None:
    config, model = _config(flip=0.25), _build(_config())
    features = _open(model, config, tmp_path, views=8)
    mirror_images = _search_data(list(range(0, 30, 2)), list(range(1, 30, 2)), POOL[:, :, ::-1].copy())

    of_mirrors = _open(model, _config(), tmp_path / "mirrored", data=mirror_images)
    images, mirrored = np.split(features.stored.values, (30,))
    np.testing.assert_allclose(mirrored, of_mirrors.stored.values[::2], rtol=1e-3, atol=1e-4)
    assert not np.allclose(images[::2], mirrored)

    train = features.train_batches(config, CPU)
    seen = torch.stack([train.order(torch.Generator().manual_seed(seed)) for seed in range(200)])
    assert torch.equal((seen % 15).sort(dim=1).values, torch.arange(15).expand(200, -1))
    assert 0.22 < (seen >= 15).float().mean() < 0.28  # 3,000 draws: three standard deviations are 0.024.


@pytest.mark.parametrize("folds", [False, True])
def test_each_view_has_the_label_of_its_image(folds: bool, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).permutation(30).tolist()
    data, model = _search_data(rows[:20], rows[20:]), _build(_config())
    mirror_images = dataclasses.replace(DATA, train=dataclasses.replace(DATA.train, pool_NHWC=POOL[:, :, ::-1].copy()))
    of_mirrors = _open(model, _config(), tmp_path / "mirrored", data=mirror_images)

    features = _open(model, _config(flip=0.5), tmp_path, data=data, views=8, folds=folds)
    views, labels_N = features.train_batches(_config(flip=0.5), CPU).take(torch.arange(20, 40))

    np.testing.assert_allclose(views, of_mirrors.stored.values[rows[:20]], rtol=1e-3, atol=1e-4)
    assert (labels_N.numpy() == np.array(rows[:20]) % 3).all()


def test_two_shares_of_flips_use_the_same_stored_features(tmp_path: Path) -> None:
    model = _build(_config())
    often, seldom = (_open(model, _config(flip=flip), tmp_path, views=8) for flip in (0.9, 0.1))

    assert len(list(tmp_path.glob("*/values.npy"))) == 1
    assert (often.mirrored, seldom.mirrored) == (0.9, 0.1)


def test_features_come_in_the_order_of_the_images_they_are_of(tmp_path: Path) -> None:
    config = _config()
    features = _open(_build(config), config, tmp_path)
    images = TrainBatches(to_device(DATA.train, CPU), batch_size=4, augmentation=Augmentation(), **STATISTICS)

    of_images, of_features = (
        torch.cat([batch.labels_N for batch in batches.epoch(torch.Generator().manual_seed(1))])
        for batches in (images, features.train_batches(config, CPU))
    )

    assert torch.equal(of_images, of_features) and len(of_images) == 12


@pytest.mark.parametrize("freezing", ["freeze_all", "freeze_partial"])
def test_mixup_mixes_features_and_names_both_labels(freezing: str, tmp_path: Path) -> None:
    config = _config(mixup=1.0, freezing=freezing)
    features = _open(_build(config), config, tmp_path)
    plain = features.train_batches(dataclasses.replace(config, mixup=0.0), CPU)

    for mixed, single in zip(
        features.train_batches(config, CPU).epoch(torch.Generator().manual_seed(1)),
        plain.epoch(torch.Generator().manual_seed(1)),
        strict=True,
    ):
        assert mixed.mix_N is not None and mixed.mixed_labels_N is not None
        share = mixed.mix_N.view(-1, *(1,) * (single.images_NCHW.ndim - 1))
        other = single.images_NCHW.roll(1, 0)
        torch.testing.assert_close(mixed.images_NCHW, share * single.images_NCHW + (1 - share) * other)
        assert torch.equal(mixed.mixed_labels_N, single.labels_N.roll(1))


def test_gray_images_have_features_too(tmp_path: Path) -> None:
    gray = _search_data(list(range(20)), list(range(20, 30)), POOL[..., :1].copy())
    model = _build(_config())
    parts = split_at_border(model)
    assert parts is not None

    features = open_features(FeatureStore(tmp_path), parts[0], gray, _config(), SEEN.for_channels(1), device=CPU)

    assert features is not None and features.stored.values.shape == (30, 1024)


def test_maps_that_float16_does_not_hold_are_refused_rather_than_spoiled(tmp_path: Path) -> None:
    config = _config(freezing="freeze_partial")
    model = _build(config)
    first = next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d))
    nn.init.constant_(first.weight, 1e9)

    with pytest.raises(InfeasibleConfig, match=r"values reach .*e\+\d+, more than float16 can hold"):
        _open(model, config, tmp_path)
