import pytest
import torch

from data.mixing import mix


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int, size: int = 16) -> torch.Tensor:
    """Image n is n everywhere."""
    return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, size, size, 3).contiguous()


def test_mixup_blends_each_image_with_its_predecessor_by_its_own_weight() -> None:
    images = numbered(64)
    mixed, kept_N = mix(images, 0.4, 0.0, generator())
    expected = kept_N * torch.arange(64) + (1 - kept_N) * torch.arange(64).roll(1)
    assert torch.allclose(mixed, expected[:, None, None, None].expand_as(mixed), atol=1e-4)
    assert len(set(kept_N.tolist())) > 40


def test_cutmix_pastes_a_rectangle_and_returns_the_share_that_is_left() -> None:
    images = numbered(64)
    mixed, kept_N = mix(images, 0.0, 1.0, generator())
    own = (mixed == images).all(dim=-1)
    pasted = (mixed == images.roll(1, 0)).all(dim=-1)
    assert (own ^ pasted).all()
    assert torch.allclose(own.float().mean(dim=(1, 2)), kept_N)
    assert torch.equal(pasted, pasted.any(dim=2)[:, :, None] & pasted.any(dim=1)[:, None, :])
    assert len(set(kept_N.tolist())) > 30


def test_with_both_alphas_each_image_gets_one_of_the_two() -> None:
    images = numbered(400)
    mixed, _ = mix(images, 1.0, 1.0, generator())
    uniform = (mixed == mixed[:, :1, :1, :1]).flatten(1).all(dim=1)
    assert 0.35 < uniform.float().mean() < 0.75


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 8.0])
def test_the_weights_follow_the_beta_distribution(alpha: float) -> None:
    _, kept_N = mix(numbered(20_000, size=1), alpha, 0.0, generator())
    assert kept_N.mean() == pytest.approx(0.5, abs=0.015)
    assert kept_N.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_half_precision_stays_half_precision() -> None:
    mixed, kept_N = mix(numbered(8).to(torch.bfloat16), 0.2, 1.0, generator())
    assert mixed.dtype == torch.bfloat16 and kept_N.dtype == torch.float32
