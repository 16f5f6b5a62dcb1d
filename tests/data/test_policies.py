"""Augmentation policies against torchvision's: each operation on the same draws, and the distribution of the draws."""

import math
from collections import Counter

import pytest
import torch
from scipy.stats import chi2_contingency
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandAugment, TrivialAugmentWide, autoaugment

from data.operations import apply_choices
from data.policies import LEVELS, OPERATIONS, Choices, draw_choices, magnitudes_of
from data.policy_names import Policy

CPU = torch.device("cpu")
TRANSFORMS = {"trivial_augment": TrivialAugmentWide(), "rand_augment": RandAugment()}
FILL_C = torch.tensor([90, 120, 30], dtype=torch.uint8)


def pictures(count: int, height: int, width: int, channels: int = 3) -> Tensor:
    """Noise on a ramp, in another range of values for each channel; the last picture has a single value."""
    generator = torch.Generator().manual_seed(count)
    ramp = torch.linspace(0, 90, width)[:, None] + torch.tensor([0.0, 40.0, 90.0])[:channels]
    noise = torch.randint(0, 60, (count, height, width, channels), generator=generator)
    images_NHWC = (ramp + noise).to(torch.uint8)
    images_NHWC[-1] = 77
    return images_NHWC


def of_torchvision(image_HWC: Tensor, operation: str, magnitude: float) -> Tensor:
    fill = [float(value) for value in FILL_C[: image_HWC.shape[2]]]
    changed = autoaugment._apply_op(
        image_HWC.permute(2, 0, 1), operation, magnitude, interpolation=InterpolationMode.NEAREST, fill=fill
    )
    return changed.permute(1, 2, 0)


def tied(operation: str, magnitude: float, height: int, width: int) -> Tensor:
    """Pixels that come from halfway between two others, either of which may be the nearest: bool of shape (H, W)."""
    halves = torch.zeros(height, width, dtype=torch.bool)
    if operation == "ShearX":
        return halves | is_half(magnitude * (torch.arange(height) + 0.5))[:, None]
    if operation == "ShearY":
        return halves | is_half(magnitude * (torch.arange(width) + 0.5))
    if operation == "Rotate":
        x_W, y_H1 = torch.arange(width) - (width - 1) / 2, (torch.arange(height) - (height - 1) / 2)[:, None]
        cos, sin = math.cos(math.radians(magnitude)), math.sin(math.radians(magnitude))
        columns_HW, rows_HW = cos * x_W - sin * y_H1 + (width - 1) / 2, sin * x_W + cos * y_H1 + (height - 1) / 2
        return is_half(columns_HW) | is_half(rows_HW)
    return halves


def is_half(distances: Tensor) -> Tensor:
    return (distances.double() % 1 - 0.5).abs() < 1e-4


@pytest.mark.parametrize("shape", [(24, 24, 3), (21, 34, 3), (17, 17, 1), (2, 2, 3)], ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("policy", TRANSFORMS)
def test_an_operation_gives_the_pixels_of_torchvision(policy: Policy, operation: str, shape) -> None:
    levels_N = torch.arange(2 * LEVELS) % LEVELS
    signs_N = torch.where(torch.arange(2 * LEVELS) < LEVELS, 1, -1)
    operations_N = torch.full_like(levels_N, OPERATIONS.index(operation))
    choices = Choices(policy, operations_N[None], levels_N[None], signs_N[None])
    images_NHWC = pictures(2 * LEVELS, *shape)

    ours_NHWC = apply_choices(images_NHWC, choices, FILL_C[: shape[2]])

    magnitudes_N = magnitudes_of(choices, *shape[:2])[0].tolist()
    pairs = zip(images_NHWC, magnitudes_N, strict=True)
    theirs_NHWC = torch.stack([of_torchvision(image, operation, magnitude) for image, magnitude in pairs])
    if operation == "Contrast":  # The mean gray is a sum in another order.
        assert (ours_NHWC.int() - theirs_NHWC.int()).abs().max() <= 1
        assert (ours_NHWC != theirs_NHWC).float().mean() < 0.001
    else:
        tied_NHW = torch.stack([tied(operation, magnitude, *shape[:2]) for magnitude in magnitudes_N])
        assert torch.equal(ours_NHWC[~tied_NHW], theirs_NHWC[~tied_NHW])
        assert tied_NHW.float().mean() < 0.1
    if shape == (24, 24, 3):
        assert torch.equal(ours_NHWC, images_NHWC) == (operation == "Identity")


def test_two_operations_follow_each_other_and_each_image_has_its_own() -> None:
    operations_RN = torch.tensor([[10, 5, 0, 13], [5, 10, 0, 6]])
    choices = Choices("rand_augment", operations_RN, torch.full((2, 4), 9), torch.ones(2, 4, dtype=torch.int64))
    images_NHWC = pictures(5, 16, 16)[:4]
    ours_NHWC = apply_choices(images_NHWC, choices, FILL_C)
    for number, image_HWC in enumerate(images_NHWC):
        for operations_N, magnitudes_N in zip(operations_RN, magnitudes_of(choices, 16, 16), strict=True):
            image_HWC = of_torchvision(image_HWC, OPERATIONS[operations_N[number]], float(magnitudes_N[number]))
        assert torch.equal(ours_NHWC[number], image_HWC)


@pytest.mark.parametrize("policy", TRANSFORMS)
def test_operations_and_magnitudes_are_drawn_as_torchvision_draws_them(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: Counter[tuple[str, float]] = Counter()

    def record(image: Tensor, operation: str, magnitude: float, **options: object) -> Tensor:
        theirs[operation, _binned(operation, magnitude)] += 1
        return image

    monkeypatch.setattr(autoaugment, "_apply_op", record)
    image_CHW = torch.zeros(3, 48, 48, dtype=torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(12_000):
            TRANSFORMS[policy](image_CHW)
    choices = draw_choices(policy, 60_000, torch.Generator().manual_seed(0), CPU)
    drawn = zip(
        choices.operations_RN.flatten().tolist(), magnitudes_of(choices, 48, 48).flatten().tolist(), strict=True
    )
    ours = Counter((OPERATIONS[number], _binned(OPERATIONS[number], magnitude)) for number, magnitude in drawn)

    assert len(choices.operations_RN) == sum(theirs.values()) // 12_000, "operations for each image"
    assert ours.keys() == theirs.keys()
    cells = sorted(ours)
    assert chi2_contingency([[ours[cell] for cell in cells], [theirs[cell] for cell in cells]]).pvalue > 0.001


def _binned(operation: str, magnitude: float) -> float:
    """A magnitude as torchvision applies it: translations by whole pixels."""
    return float(int(magnitude)) if operation.startswith("Translate") else magnitude
