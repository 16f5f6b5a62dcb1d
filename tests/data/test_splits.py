import numpy as np
import pytest

from data.errors import UserError
from data.layout import ImageFile
from data.spec import DataSpec
from data.splits import Draw, split_files, stratified_fold, stratified_part, stratified_sample

LABELS = np.array([0] * 103 + [1] * 50 + [2] * 7)
CLASSES = ("a", "b", "c")


def files_of(labels: np.ndarray, part: str = "train") -> list[ImageFile]:
    return [ImageFile(f"{part}/{label}/{n:04}.png", int(label), part, 1, 0) for n, label in enumerate(labels)]


def test_every_class_gives_its_exact_share() -> None:
    marked = stratified_part(LABELS, 0.2, 0, Draw.VALIDATION)
    assert np.bincount(LABELS[marked]).tolist() == [21, 10, 1]


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_both_sides_of_a_split_get_at_least_one_of_each_class(fraction: float) -> None:
    marked = stratified_part(LABELS, fraction, 0, Draw.VALIDATION)
    assert set(LABELS[marked]) == set(LABELS[~marked]) == {0, 1, 2}


def test_every_image_validates_in_exactly_one_fold_and_folds_are_equal() -> None:
    folds = np.array([stratified_fold(LABELS, 4, fold, seed=3) for fold in range(4)])
    assert (folds.sum(axis=0) == 1).all()
    for label in range(3):
        sizes = folds[:, label == LABELS].sum(axis=1)
        assert sizes.max() - sizes.min() <= 1
    assert np.ptp(folds.sum(axis=1)) <= 2


def test_a_sample_has_the_exact_size_and_each_class_by_its_share() -> None:
    marked = stratified_sample(LABELS, 40, 0)
    assert np.bincount(LABELS[marked]).tolist() == [26, 12, 2]


def test_the_split_is_the_recorded_one_for_ever() -> None:
    split = split_files(files_of(LABELS), CLASSES, DataSpec(source="x", split_seed=7))
    assert split.val_M[:5].tolist() == [2, 5, 6, 10, 17]
    assert split.split_hash == "2ef168e044afa424e080f3bcfc8744fb"


def test_another_seed_gives_another_split_of_another_hash() -> None:
    splits = [split_files(files_of(LABELS), CLASSES, DataSpec(source="x", split_seed=seed)) for seed in (0, 1)]
    assert splits[0].split_hash != splits[1].split_hash
    assert set(splits[0].val_M) != set(splits[1].val_M)


def test_a_class_keeps_its_split_when_another_class_grows() -> None:
    grown = np.concatenate((LABELS, [2] * 30))
    before, after = (stratified_part(labels, 0.2, 0, Draw.VALIDATION) for labels in (LABELS, grown))
    assert (before[LABELS != 2] == after[grown != 2]).all()


def test_sampling_comes_before_the_split() -> None:
    split = split_files(files_of(LABELS), CLASSES, DataSpec(source="x", train_images=80))
    assert len(split.train_M) + len(split.val_M) == 80


def test_a_validation_set_of_the_source_stays_what_it_is() -> None:
    files = sorted(files_of(LABELS) + files_of(LABELS[::5], "val"))
    split = split_files(files, CLASSES, DataSpec(source="x", train_images=60))
    assert {files[row].part for row in split.val_M} == {"val"}
    assert len(split.val_M) == len(LABELS[::5])
    assert len(split.train_M) == 60


def test_folds_divide_training_and_validation_images_anew() -> None:
    files = sorted(files_of(LABELS) + files_of(LABELS[::5], "val"))
    split = split_files(files, CLASSES, DataSpec(source="x", folds=3, fold=2))
    assert len(split.train_M) + len(split.val_M) == len(files)
    assert {files[row].part for row in split.val_M} == {"train", "val"}


@pytest.mark.parametrize(
    ("labels", "spec", "message"),
    [
        ([0, 0, 0, 1], {}, "too few images to train and to validate: b .1.; each class needs at least 2"),
        (
            [0, 0, 0, 1, 1],
            {"folds": 3},
            "a class has too few images to train and to validate: b .2.; each class needs at least 3",
        ),
        ([0] * 4 + [1] * 4, {"folds": 2, "fold": 2}, "fold 2 of 2"),
        ([0] * 4 + [1] * 4, {"folds": 1}, "at least 2 folds"),
    ],
)
def test_what_cannot_be_split_is_refused(labels, spec, message) -> None:
    with pytest.raises(UserError, match=message):
        split_files(files_of(np.array(labels)), ("a", "b"), DataSpec(source="x", **spec))


def rare(labels: np.ndarray = LABELS, **fields: object) -> np.ndarray:
    """Labels of the training images that are left."""
    split = split_files(files_of(labels), CLASSES, DataSpec(source="x", **fields))
    return labels[split.train_M]


def test_a_class_made_rare_has_its_share_of_the_largest_class_as_noted() -> None:
    spec = DataSpec(source="x", imbalance=10, rare_class="b")
    split = split_files(files_of(LABELS), CLASSES, spec)
    assert np.bincount(LABELS[split.train_M]).tolist() == [82, 8, 6]
    assert "b made rare: 8 of 40 training images kept, seed 0; a has 82, for an imbalance of 10 to 1" in split.notes[-1]


def test_making_a_class_rare_leaves_the_validation_images_as_they_were() -> None:
    cut, whole = (
        split_files(files_of(LABELS), CLASSES, DataSpec(source="x", imbalance=imbalance, rare_class="b"))
        for imbalance in (10, 1)
    )
    assert cut.val_M.tolist() == whole.val_M.tolist() and cut.split_hash != whole.split_hash
    assert set(cut.train_M) < set(whole.train_M)


def test_a_larger_imbalance_keeps_a_part_of_what_a_smaller_one_keeps() -> None:
    kept = [
        set(split_files(files_of(LABELS), CLASSES, DataSpec(source="x", imbalance=r, rare_class="b")).train_M)
        for r in (4, 8)
    ]
    assert kept[1] < kept[0]


def test_without_a_name_the_smallest_class_is_made_rare_and_of_equal_ones_the_last() -> None:
    assert np.bincount(rare(imbalance=40)).tolist() == [82, 40, 2]
    equal = np.array([0] * 50 + [1] * 50 + [2] * 50)
    assert np.bincount(rare(equal, imbalance=8)).tolist() == [40, 40, 5]


def test_a_class_that_is_rare_enough_is_left_alone() -> None:
    assert np.bincount(rare(imbalance=2, rare_class="c")).tolist() == [82, 40, 6]


def test_an_unknown_rare_class_and_one_that_would_vanish_are_refused() -> None:
    with pytest.raises(UserError, match="no class 'd' to make rare; the classes are a, b, c"):
        rare(imbalance=10, rare_class="d")
    with pytest.raises(
        UserError, match="class b: no training image is left at an imbalance of 1000 to 1, since a has 82 images"
    ):
        rare(imbalance=1000, rare_class="b")
