from __future__ import annotations

import torch

from data.sampling import epoch_order

LABELS = torch.tensor([0] * 900 + [1] * 100)


def order(seed: int, *, balanced: bool) -> torch.Tensor:
    return epoch_order(LABELS, torch.Generator().manual_seed(seed), balanced=balanced)


def test_a_shuffled_epoch_has_every_image_once() -> None:
    assert order(0, balanced=False).sort().values.tolist() == list(range(1000))


def test_a_balanced_epoch_is_as_long_and_shows_every_class_equally_often() -> None:
    drawn = order(0, balanced=True)

    assert len(drawn) == 1000
    assert 440 < (LABELS[drawn] == 1).sum() < 560  # Four standard deviations of a fair coin.


def test_every_image_of_a_class_is_as_likely_as_the_others() -> None:
    counts = sum(torch.bincount(order(seed, balanced=True), minlength=1000) for seed in range(100))
    rare = counts[900:].double()

    assert rare.min() > 350 and rare.max() < 650  # 500 each is expected, with a standard deviation of 22.


def test_the_same_seed_gives_the_same_epoch() -> None:
    assert torch.equal(order(3, balanced=True), order(3, balanced=True))
    assert not torch.equal(order(3, balanced=True), order(4, balanced=True))
