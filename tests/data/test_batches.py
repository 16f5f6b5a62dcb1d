import numpy as np
import pytest
import torch
from torch import Tensor

from data.arrays import ImageSet
from data.augment import Augmentation
from data.batches import Batch, EvalBatches, TrainBatches, to_device
from data.errors import InfeasibleConfig

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
POOL_NHWC = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)
FLIP_AND_CROP = Augmentation(flip=0.5, crop_padding=2)


@pytest.fixture(autouse=True, scope="module")
def read_only_pool() -> None:
    POOL_NHWC.setflags(write=False)


def image_set(rows) -> ImageSet:
    rows_M = np.array(rows)
    return ImageSet(pool_NHWC=POOL_NHWC, rows_M=rows_M, labels_M=rows_M * 10)


def train_batches(rows=range(50), **options) -> TrainBatches:
    options = {"mean": MEAN, "std": STD, "batch_size": 16, "augmentation": Augmentation()} | options
    return TrainBatches(to_device(image_set(rows), CPU), **options)


def eval_batches(rows=range(50, 70), **options) -> EvalBatches:
    return EvalBatches(to_device(image_set(rows), CPU), **({"mean": MEAN, "std": STD, "batch_size": 16} | options))


def epoch(batches: TrainBatches, seed: int = 0) -> list[Batch]:
    return list(batches.epoch(torch.Generator().manual_seed(seed)))


def plain(rows) -> Tensor:
    """What normalisation by its definition gives, NCHW."""
    images = (POOL_NHWC[np.array(rows)] / 255 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def test_every_image_comes_once_in_order_when_evaluating() -> None:
    batches = eval_batches()
    assert [len(batch.labels_N) for batch in batches] == [16, 4]
    assert len(batches) == 2
    images = torch.cat([batch.images_NCHW for batch in batches])
    assert torch.allclose(images, plain(range(50, 70)), atol=1e-6)
    assert torch.cat([batch.labels_N for batch in batches]).tolist() == list(range(500, 700, 10))


def test_training_shuffles_keeps_labels_and_drops_the_last_partial_batch() -> None:
    batches = train_batches()
    seen = epoch(batches)
    assert [len(batch.labels_N) for batch in seen] == [16, 16, 16] and len(batches) == 3
    labels = torch.cat([batch.labels_N for batch in seen])
    assert len(set(labels.tolist())) == 48 and labels.tolist() != sorted(labels.tolist())
    images = torch.cat([batch.images_NCHW for batch in seen])
    assert torch.allclose(images, plain((labels // 10).tolist()), atol=1e-6)


def test_a_batch_larger_than_the_set_is_the_whole_set() -> None:
    batches = train_batches(batch_size=128)
    assert [len(batch.labels_N) for batch in epoch(batches)] == [50] and len(batches) == 1


def test_an_epoch_is_decided_by_its_generator_alone() -> None:
    batches = train_batches(augmentation=FLIP_AND_CROP)
    first, again, other = epoch(batches, 1), epoch(batches, 1), epoch(batches, 2)
    assert all(torch.equal(a.images_NCHW, b.images_NCHW) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].labels_N, other[0].labels_N)


def test_augmentation_is_on_in_training_and_off_in_validation_however_they_alternate() -> None:
    # The published fault: both were views of one object, so that switching the transform for one switched it for both.
    images = to_device(image_set(range(48)), CPU)
    training = TrainBatches(images, mean=MEAN, std=STD, batch_size=48, augmentation=FLIP_AND_CROP)
    validation = EvalBatches(images, mean=MEAN, std=STD, batch_size=48)
    expected = plain(range(48))
    for seed in range(3):
        (validated,) = validation
        assert torch.allclose(validated.images_NCHW, expected, atol=1e-6)
        (trained,) = epoch(training, seed)
        unaugmented = plain((trained.labels_N // 10).tolist())
        changed = (trained.images_NCHW - unaugmented).abs().flatten(1).amax(dim=1) > 1e-3
        assert changed.float().mean() > 0.9
    iterating = zip(training.epoch(torch.Generator().manual_seed(0)), validation, strict=True)
    for _, validated in iterating:
        assert torch.allclose(validated.images_NCHW, expected, atol=1e-6)


def test_validation_offers_no_augmentation_to_switch_on() -> None:
    with pytest.raises(TypeError, match="augmentation"):
        eval_batches(augmentation=FLIP_AND_CROP)


def test_the_same_picture_is_drawn_anew_in_every_epoch() -> None:
    batches = train_batches(rows=[3], batch_size=1, augmentation=FLIP_AND_CROP)
    generator = torch.Generator().manual_seed(0)
    seen = {next(batches.epoch(generator)).images_NCHW.numpy().tobytes() for _ in range(40)}
    assert len(seen) > 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("augmentation", [Augmentation(), FLIP_AND_CROP, Augmentation(mixup=0.2, cutmix=1.0)])
def test_batches_are_channels_last_of_the_dtype_asked_for(dtype: torch.dtype, augmentation: Augmentation) -> None:
    for batch in [*epoch(train_batches(dtype=dtype, augmentation=augmentation)), *eval_batches(dtype=dtype)]:
        assert batch.images_NCHW.dtype == dtype
        assert batch.images_NCHW.is_contiguous(memory_format=torch.channels_last)


def test_mixed_images_bring_both_labels_and_their_weight() -> None:
    (batch, *_) = epoch(train_batches(augmentation=Augmentation(mixup=0.4)))
    assert batch.mixed_labels_N is not None and batch.mix_N is not None
    own, other = plain((batch.labels_N // 10).tolist()), plain((batch.mixed_labels_N // 10).tolist())
    weight = batch.mix_N[:, None, None, None]
    assert torch.allclose(batch.images_NCHW, weight * own + (1 - weight) * other, atol=1e-5)


def test_erased_pixels_become_about_zero() -> None:
    (batch, *_) = epoch(train_batches(augmentation=Augmentation(erasing=1.0)))
    changed = batch.images_NCHW != plain((batch.labels_N // 10).tolist())
    assert (batch.images_NCHW.abs() < 0.5 / 255 / min(STD) + 1e-6).all(dim=1).flatten(1).any(dim=1).float().mean() > 0.7
    assert changed.any()


def test_the_memory_map_itself_is_used_on_a_cpu() -> None:
    placed = to_device(image_set(range(5)), CPU)
    assert placed.pool_NHWC.data_ptr() == POOL_NHWC.ctypes.data  # type: ignore[attr-defined]


def test_a_crop_wider_than_the_images_is_infeasible() -> None:
    with pytest.raises(InfeasibleConfig, match="crop_padding 8 is not smaller than the 8 px images"):
        train_batches(augmentation=Augmentation(crop_padding=8))


def test_images_stay_on_the_host_if_another_program_leaves_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    needed_bytes = 50 * 8 * 8 * 3
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * needed_bytes - 2, 80 * 2**30))
    placed = to_device(image_set(range(50)), torch.device("cuda:0"))
    assert placed.index_device == CPU and placed.device == torch.device("cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("memory_share", [0.5, 0.0])
def test_an_epoch_on_a_gpu_never_waits_for_it(memory_share: float) -> None:
    device = torch.device("cuda")
    everything = Augmentation(
        flip=0.5, crop_padding=2, resized_crop=0.5, rotation=10, color_jitter=0.3, erasing=0.5, mixup=0.2, cutmix=1.0
    )
    images = to_device(image_set(range(50)), device, memory_share=memory_share)
    assert images.pool_NHWC.is_cuda == (memory_share > 0)  # type: ignore[attr-defined]
    batches = TrainBatches(images, mean=MEAN, std=STD, batch_size=16, augmentation=everything)
    generator = torch.Generator(device).manual_seed(0)
    list(batches.epoch(generator))
    steps = batches.epoch(generator)
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(steps)) == 2
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_balanced_training_shows_rare_and_frequent_classes_equally_often() -> None:
    rows_M = np.arange(50)
    images = ImageSet(pool_NHWC=POOL_NHWC, rows_M=rows_M, labels_M=(rows_M >= 45).astype(np.int64))
    batches = TrainBatches(
        to_device(images, CPU), mean=MEAN, std=STD, batch_size=16, augmentation=Augmentation(), balanced=True
    )
    labels = torch.cat([batch.labels_N for seed in range(20) for batch in epoch(batches, seed)])
    assert len(labels) == 20 * 48 and 0.43 < labels.float().mean() < 0.57  # Four standard deviations of a fair coin.


def test_an_alternating_flip_shows_each_image_both_ways_in_two_epochs() -> None:
    batches = train_batches(rows=range(48), augmentation=Augmentation(flip_alternating=True))
    seen: list[dict[int, bool]] = []
    for number in range(1, 5):
        batches.begin_epoch(number)
        mirrored = {}  # type: ignore[var-annotated]
        for batch in epoch(batches, seed=number):
            upright = plain((batch.labels_N // 10).tolist())
            is_mirrored = (batch.images_NCHW - upright).abs().flatten(1).amax(dim=1) > 1e-5
            assert torch.allclose(batch.images_NCHW[is_mirrored], upright[is_mirrored].flip(3), atol=1e-6)
            mirrored |= dict(zip(batch.labels_N.tolist(), is_mirrored.tolist(), strict=True))
        assert len(mirrored) == 48 and sum(mirrored.values()) == 24
        seen.append(mirrored)
    assert seen[0] == seen[2] == {label: not is_mirrored for label, is_mirrored in seen[1].items()}
    assert seen[1] == seen[3]


def test_an_alternating_flip_leaves_the_other_draws_to_the_generator() -> None:
    varied = Augmentation(flip_alternating=True, crop_padding=2)
    batches = train_batches(augmentation=varied)
    first, again = epoch(batches, 1), epoch(train_batches(augmentation=varied), 1)
    assert all(torch.equal(a.images_NCHW, b.images_NCHW) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].images_NCHW, epoch(batches, 2)[0].images_NCHW)


@pytest.mark.parametrize("augmentation", [FLIP_AND_CROP, Augmentation(erasing=0.5, mixup=0.2)])
def test_picking_an_epochs_order_batch_by_batch_gives_its_batches(augmentation: Augmentation) -> None:
    batches = train_batches(augmentation=augmentation)
    generator = torch.Generator().manual_seed(4)
    order = batches.order(generator)
    picked = [batches.pick(order[start : start + 16], generator) for start in range(0, 48, 16)]
    for ours, theirs in zip(picked, epoch(batches, 4), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None)
    assert batches.resident


def test_picked_validation_images_are_those_of_the_pass() -> None:
    batches = eval_batches()
    (first, *_) = batches
    assert torch.equal(batches.pick(torch.arange(16)).images_NCHW, first.images_NCHW)
