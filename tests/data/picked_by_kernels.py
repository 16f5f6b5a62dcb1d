"""The Triton kernels against the torch code, on whatever device there is; without a GPU under TRITON_INTERPRET=1.

Run by `test_pick.py` in a process of its own: Triton decides when it is imported whether it interprets.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from data.augment import Augmentation, augment, draw
from data.batches import DeviceImages, EvalBatches, TrainBatches
from data.pick import Pool, agrees, normalise_batch, pick_batch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
COUNT = 6
EXACT = [
    {},
    {"flip": 0.5},
    {"flip": 1.0},
    {"flip_alternating": True},
    {"crop_padding": 3},
    {"crop_padding": 6},
    {"erasing": 1.0},
    {"flip": 0.5, "crop_padding": 2, "erasing": 0.5},
    {"flip": 0.5, "crop_padding": 2, "auto_augment": "rand_augment", "erasing": 0.5},
]
WITHIN_A_LEVEL = [
    {"rotation": 30.0},
    {"resized_crop": 0.3},
    {"color_jitter": 0.5},
    {"color_jitter": 1.0, "erasing": 0.5},
    {"flip": 0.5, "crop_padding": 2, "resized_crop": 0.5, "rotation": 10.0, "color_jitter": 0.3, "erasing": 0.5},
]
SHAPES = [(7, 7, 3), (12, 12, 1), (20, 20, 3)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def normalised(images_NHWC: Tensor, dtype: torch.dtype) -> Tensor:
    channels = images_NHWC.shape[3]
    scale, shift = torch.linspace(0.01, 0.02, channels), torch.linspace(-2, -1, channels)
    return (images_NHWC.float() * scale.to(DEVICE) + shift.to(DEVICE)).to(dtype)


def make_pool(shape: tuple[int, int, int], dtype: torch.dtype) -> Pool:
    rng = np.random.default_rng(0)
    channels = shape[2]
    images = torch.from_numpy(rng.integers(0, 256, (40, *shape), dtype=np.uint8)).to(DEVICE)
    levels = torch.arange(256, dtype=torch.uint8, device=DEVICE)[:, None, None, None].expand(256, 1, 1, channels)
    return Pool(
        images_MHWC=images,
        rows_M=torch.from_numpy(rng.permutation(40)[:30]).to(DEVICE),
        table_C256=normalised(levels, dtype).view(256, channels).T.contiguous(),
        fill_C=torch.arange(10, 10 + channels, dtype=torch.uint8, device=DEVICE),
    )


def both_ways(settings: dict[str, float], shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    pool, augmentation = make_pool(shape, dtype), Augmentation(**settings)  # type: ignore[arg-type]
    index = torch.from_numpy(np.random.default_rng(1).permutation(30)[:COUNT]).to(DEVICE)
    ours = torch.Generator(DEVICE).manual_seed(3)
    picked = pick_batch(pool, index, draw(augmentation, COUNT, ours, DEVICE))
    theirs = torch.Generator(DEVICE).manual_seed(3)
    images = augment(pool.images_MHWC[pool.rows_M[index]], augmentation, pool.fill_C, theirs)
    assert torch.equal(ours.get_state(), theirs.get_state()), "both have drawn as much"
    return picked, normalised(images, dtype)


@pytest.mark.parametrize(("settings", "shape", "dtype"), list(itertools.product(EXACT, SHAPES, DTYPES)))
def test_moved_blanked_and_normalised_pictures_are_exactly_those_of_torch(settings, shape, dtype) -> None:
    picked, expected = both_ways(settings, shape, dtype)
    assert picked.dtype == dtype and torch.equal(picked, expected)


@pytest.mark.parametrize(("settings", "shape"), list(itertools.product(WITHIN_A_LEVEL, SHAPES)))
def test_bent_and_coloured_pictures_differ_by_a_level_at_most_and_seldom(settings, shape) -> None:
    picked, expected = both_ways(settings, shape, torch.float32)
    level = 0.02 * 1.001
    difference = (picked - expected).abs()
    # Where a colour follows a bent pixel, a level there may become two.
    assert difference.max() <= level * (2 if len(settings) > 2 else 1)
    assert (difference > 1e-5).float().mean() < 0.01


def test_pictures_that_are_not_varied_are_normalised_as_they_are() -> None:
    pool = make_pool((16, 16, 3), torch.bfloat16)
    index = torch.tensor([4, 0, 4], device=DEVICE)
    expected = normalised(pool.images_MHWC[pool.rows_M[index]], torch.bfloat16)
    assert torch.equal(normalise_batch(pool, index), expected)


def test_the_check_finds_kernels_that_give_other_pictures() -> None:
    pool, augmentation = make_pool((16, 16, 3), torch.float32), Augmentation(flip=0.5, crop_padding=2)
    assert agrees(pool, augmentation, lambda images: normalised(images, torch.float32))
    assert not agrees(pool, augmentation, lambda images: normalised(images, torch.float32) + 0.001)
    assert not agrees(pool, Augmentation(rotation=9), lambda images: normalised(images.flip(2), torch.float32))


@pytest.mark.parametrize("settings", [EXACT[-1], WITHIN_A_LEVEL[-1], {"flip": 0.5, "mixup": 0.4, "cutmix": 1.0}])
def test_batches_by_kernels_are_those_without(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pool = torch.from_numpy(rng.integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)).to(DEVICE)
    rows, labels = torch.arange(50, device=DEVICE), torch.arange(50, device=DEVICE)
    images = DeviceImages(pool_NHWC=pool, rows_M=rows, labels_M=labels, device=DEVICE)
    options = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "batch_size": 16}

    def batches(has_kernels: bool):
        monkeypatch.setattr("data.batches.has_kernels", lambda device: has_kernels)
        train = TrainBatches(images, augmentation=Augmentation(**settings), **options)
        assert (train._kernels is not None) == has_kernels
        val = EvalBatches(images, **options)
        return [*train.epoch(torch.Generator(DEVICE).manual_seed(5)), *val]

    for ours, theirs in zip(batches(True), batches(False), strict=True):
        assert torch.equal(ours.labels_N, theirs.labels_N)
        assert ours.images_NCHW.is_contiguous(memory_format=torch.channels_last)
        difference = (ours.images_NCHW - theirs.images_NCHW).abs()
        if "rotation" in settings:
            assert difference.max() < 2.1 / 255 / 0.2 and (difference > 1e-5).float().mean() < 0.01
        else:
            assert difference.max() == 0
