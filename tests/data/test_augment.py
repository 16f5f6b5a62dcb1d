from dataclasses import fields
from typing import get_type_hints

import pytest
import torch
from torch import Tensor

from data.augment import Augmentation, AugmentationFields, augment, inside_rectangles
from data.policy_names import Policy
from models.config import TrainConfig

FILL_C = torch.tensor([1, 2, 3], dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vary(images: Tensor, generator: torch.Generator, **settings: float) -> Tensor:
    return augment(images, Augmentation(**settings), FILL_C[: images.shape[3]], generator)


def same_picture(count: int, size: int = 16, channels: int = 3) -> Tensor:
    """One random picture, repeated."""
    picture = torch.randint(0, 256, (1, size, size, channels), dtype=torch.uint8, generator=generator(9))
    return picture.repeat(count, 1, 1, 1)


def distinct(images_NHWC: Tensor) -> int:
    return len({image.numpy().tobytes() for image in images_NHWC})


@pytest.mark.parametrize(
    ("settings", "at_least"),
    [
        ({"flip": 0.5}, 2),
        ({"flip_alternating": True}, 2),
        ({"crop_padding": 3}, 30),
        ({"resized_crop": 0.3}, 60),
        ({"rotation": 30}, 60),
        ({"color_jitter": 0.5}, 60),
        ({"auto_augment": "trivial_augment"}, 30),
        ({"auto_augment": "rand_augment"}, 30),
        ({"erasing": 1.0}, 55),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_of_a_batch_gets_its_own_draw(settings, at_least: int, channels: int) -> None:
    images = same_picture(64, channels=channels)
    fill_C = FILL_C[:channels]
    changed = augment(images, Augmentation(**settings), fill_C, generator())
    assert changed.shape == images.shape and changed.dtype == torch.uint8 and changed.is_contiguous()
    assert distinct(changed) >= at_least
    assert torch.equal(changed, augment(images, Augmentation(**settings), fill_C, generator()))
    assert not torch.equal(changed, augment(images, Augmentation(**settings), fill_C, generator(1)))


def test_the_default_changes_nothing() -> None:
    images = same_picture(4)
    assert augment(images, Augmentation(), FILL_C, generator()) is images


def test_a_flip_mirrors_columns() -> None:
    images = same_picture(8)
    assert torch.equal(vary(images, generator(), flip=1.0, crop_padding=0), images.flip(2))
    assert torch.equal(vary(images, generator(), flip=0.0, crop_padding=0), images)


def test_half_the_images_are_mirrored() -> None:
    images = same_picture(2000)
    mirrored = (vary(images, generator(), flip=0.5, crop_padding=0) == images.flip(2)).flatten(1).all(dim=1)
    assert 0.45 < mirrored.float().mean() < 0.55


def test_a_crop_is_a_window_of_the_reflected_picture() -> None:
    images = same_picture(200, size=8)
    padded = torch.nn.functional.pad(images[:1].permute(0, 3, 1, 2).float(), (3, 3, 3, 3), mode="reflect")
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)[0].permute(1, 2, 3, 4, 0).reshape(-1, 8, 8, 3).to(torch.uint8)
    allowed = {window.contiguous().numpy().tobytes() for window in windows}
    seen = {image.numpy().tobytes() for image in vary(images, generator(), flip=0.0, crop_padding=3)}
    assert seen <= allowed
    assert len(seen) > 40, "nearly all of the 49 windows turn up"


def test_a_crop_wider_than_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="padding of 16 pixels"):
        vary(same_picture(1), generator(), flip=0.0, crop_padding=16)


def test_no_crop_and_no_rotation_give_the_picture_back() -> None:
    images = same_picture(4)
    assert torch.equal(vary(images, generator(), resized_crop=1.0, rotation=0.0), images)


def test_a_rotation_keeps_the_centre_and_turns_the_rest() -> None:
    images = torch.zeros(500, 17, 17, 1, dtype=torch.uint8)
    images[:, 8, 8] = 200
    images[:, 8, 14] = 100  # six pixels to the right of the centre
    turned = vary(images, generator(), resized_crop=1.0, rotation=90.0)[..., 0]
    assert (turned[:, 8, 8] > 150).all()
    above, below, left = turned[:, 2, 8], turned[:, 14, 8], turned[:, 8, 2]
    assert above.max() > 50 and below.max() > 50 and left.max() == 0


def test_a_resized_crop_magnifies_by_at_most_what_is_allowed() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).mul(4)[None, None, :, None].expand(300, 64, 64, 1).contiguous()
    cropped = vary(ramp, generator(), resized_crop=0.25, rotation=0.0)[..., 0].int()
    kept_width = (cropped[:, 32, -1] - cropped[:, 32, 0]) / float(ramp[0, 0, -1, 0])
    assert 0.40 < kept_width.min() < 0.55  # sqrt(0.25 * 3 / 4) = 0.43
    assert kept_width.max() > 0.9


def test_colour_jitter_of_full_strength_reaches_black_and_keeps_gray_pictures_gray() -> None:
    gray = torch.randint(0, 256, (256, 4, 4, 1), dtype=torch.uint8, generator=generator()).expand(-1, -1, -1, 3)
    changed = vary(gray.contiguous(), generator(), color_jitter=1.0).int()
    assert (changed.amax(dim=-1) - changed.amin(dim=-1)).max() <= 1
    assert changed.flatten(1).float().mean(dim=1).min() < 10


def test_colour_jitter_keeps_the_mean_brightness_on_average() -> None:
    images = torch.full((4000, 2, 2, 3), 100, dtype=torch.uint8)
    assert vary(images, generator(), color_jitter=0.4).float().mean() == pytest.approx(100, abs=1)


def test_erasing_fills_a_rectangle_of_a_share_between_two_percent_and_a_third() -> None:
    images = torch.full((500, 64, 64, 3), 77, dtype=torch.uint8)
    erased = (vary(images, generator(), erasing=1.0) == FILL_C).all(dim=-1)
    share = erased.float().mean(dim=(1, 2))
    assert share.min() > 0.01 and share.max() < 0.37
    rows, columns = erased.any(dim=2), erased.any(dim=1)
    assert torch.equal(erased, rows[:, :, None] & columns[:, None, :])
    assert 0.4 < (vary(images, generator(), erasing=0.5) != images).flatten(1).any(dim=1).float().mean() < 0.6


def test_a_rectangle_beyond_the_border_is_cut_off() -> None:
    inside = inside_rectangles(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [0.5]]), 8, 8)
    assert inside.sum() == 4 and inside[0, :2, 6:].all()


def test_the_fields_are_those_of_the_training_configuration() -> None:
    config = TrainConfig(model="flexcnn", flip=0.5, crop_padding=4, rotation=10, mixup=0.2)
    fields_of_config: AugmentationFields = config
    augmentation = Augmentation.of(fields_of_config)
    assert augmentation == Augmentation(flip=0.5, crop_padding=4, rotation=10, mixup=0.2)
    config_fields = {field.name: field.default for field in fields(TrainConfig)}
    for field in fields(Augmentation):
        assert config_fields[field.name] == field.default
        assert get_type_hints(Augmentation)[field.name] in (int, float, bool, Policy)
