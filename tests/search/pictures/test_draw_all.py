"""Which images are shown, what is computed of the predictions, and what is drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from PIL import Image

from data.arrays import ImageSet
from search.pictures.calibration import calibration_picture
from search.pictures.confusion import confusion_picture, write_confusion
from search.pictures.coverage import coverage_picture
from search.pictures.grids import mistakes_grid, prediction_grid
from search.pictures.per_class import class_scores_picture
from search.pictures.predictions import (
    Predictions,
    choose_grid,
    load_predictions,
    predictions_of,
    ranked_mistakes,
    save_predictions,
)
from search.pictures.sheet import RIGHT, WRONG, Sheet, elide
from search.verdict.calibration_error import reliability


def make_predictions(
    classes: tuple[str, ...] = ("cat", "dog", "owl"), images: int = 90, *, right: float = 0.7, channels: int = 3
) -> Predictions:
    """Images in class order, a share of them predicted right, every one with another confidence."""
    generator = np.random.default_rng(5)
    count = len(classes)
    labels = np.arange(images) * count // images
    predicted = np.where(generator.random(images) < right, labels, (labels + 1) % count)
    confidence = np.linspace(0.55, 0.99, images)
    probabilities = np.repeat(((1 - confidence) / (count - 1))[:, None], count, axis=1)
    probabilities[np.arange(images), predicted] = confidence
    pool = generator.integers(0, 255, (images, 8, 8, channels), dtype=np.uint8)
    image_set = ImageSet(pool_NHWC=pool, rows_M=np.arange(images), labels_M=labels)
    names = [f"{classes[label]}/{image}.png" for image, label in enumerate(labels)]
    return predictions_of(image_set, probabilities.astype(np.float32), classes, "validation images", names)


def texts(sheet: Sheet) -> list[str]:
    return [text.get_text() for text in sheet.figure.texts]


def test_the_grid_takes_the_same_number_of_each_class() -> None:
    labels = np.repeat(np.arange(10), [3, 500, 40, 40, 40, 40, 40, 40, 40, 40])
    chosen = choose_grid(labels, 10)
    assert np.bincount(labels[chosen]).tolist() == [3] * 10
    assert labels[chosen[:10]].tolist() == list(range(10))


def test_the_grid_is_the_same_every_time_and_not_the_first_images() -> None:
    labels = np.repeat(np.arange(3), 100)
    assert choose_grid(labels, 3).tolist() == choose_grid(labels, 3).tolist()
    assert set(choose_grid(labels, 3)) != {0, *range(10), *range(100, 110), *range(200, 210)}


def test_all_images_of_a_rare_class_are_shown_and_other_classes_fill_the_grid() -> None:
    labels = np.repeat(np.arange(2), [2, 100])
    chosen = choose_grid(labels, 2)
    assert len(set(chosen)) == 30
    assert np.bincount(labels[chosen]).tolist() == [2, 28]


def test_a_small_set_is_shown_completely() -> None:
    assert sorted(choose_grid(np.array([1, 0, 1]), 2)) == [0, 1, 2]


def test_with_many_classes_each_is_shown_at_most_once() -> None:
    labels = np.repeat(np.arange(120), 4)
    shown = labels[choose_grid(labels, 120)]
    assert len(set(shown)) == 30
    assert shown.max() > 60, "not the first thirty"


def test_mistakes_are_sorted_by_confidence() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    labels = np.array([0, 0, 0, 1])
    assert ranked_mistakes(labels, probabilities).tolist() == [1, 2, 3]


def test_the_kept_pixels_are_those_of_the_images_shown() -> None:
    generator = np.random.default_rng(0)
    pool = generator.integers(0, 255, (200, 2, 2, 1), dtype=np.uint8)
    images = ImageSet(pool_NHWC=pool, rows_M=np.arange(199, -1, -1), labels_M=np.arange(200) % 4)
    probabilities = generator.dirichlet(np.ones(4), 200).astype(np.float32)
    predictions = predictions_of(images, probabilities, ("a", "b", "c", "d"), "validation images")
    for chosen in (predictions.grid, predictions.mistakes):
        assert np.array_equal(predictions.images(chosen), pool[images.rows_M[chosen]])
    assert len(predictions.images_KHWC) <= 50


def test_predictions_come_back_from_their_file(tmp_path: Path) -> None:
    predictions = make_predictions()
    path = tmp_path / "study" / "look-1.npz"
    save_predictions(predictions, path)
    found = load_predictions(path)
    assert (found.source, found.classes) == (predictions.source, predictions.classes)
    assert np.array_equal(found.probabilities_NC, predictions.probabilities_NC)
    assert found.names_N is not None
    assert found.names_N.tolist()[:2] == ["cat/0.png", "cat/1.png"]
    assert np.array_equal(found.images(found.mistakes), predictions.images(predictions.mistakes))
    assert [file.name for file in path.parent.iterdir()] == ["look-1.npz"]


def test_the_calibration_error_is_the_weighted_distance_of_confidence_and_accuracy() -> None:
    confidence = np.array([0.15, 0.25, 0.9, 1.0, 1.0])
    is_right = np.array([False, True, True, True, False])
    found = reliability(confidence, is_right, bins=2)
    assert found.bin_B.tolist() == [0, 1]
    assert found.images_B.tolist() == [2, 3]
    assert found.accuracy_B.tolist() == pytest.approx([1 / 2, 2 / 3])
    assert found.confidence_B.tolist() == pytest.approx([0.2, 2.9 / 3])
    assert found.error == pytest.approx((2 * 0.3 + 3 * 0.3) / 5)


def test_bins_without_images_are_left_out_and_an_edge_belongs_below() -> None:
    found = reliability(np.array([0.5, 0.51]), np.array([True, True]), bins=4)
    assert found.bin_B.tolist() == [1, 2]


def test_mistakes_carry_the_names_of_their_files() -> None:
    predictions = make_predictions()
    sheet = mistakes_grid(predictions)
    assert sheet is not None
    assert [text for text in texts(sheet) if text.endswith(".png")] == [f"{n}.png" for n in predictions.mistakes]
    nameless = mistakes_grid(replace(predictions, names_N=None))
    assert nameless is not None
    assert not [text for text in texts(nameless) if text.endswith(".png")]


def test_correct_and_wrong_predictions_differ_in_colour_and_mark() -> None:
    predictions = make_predictions()
    sheet = prediction_grid(predictions)
    is_right = predictions.is_right_N[predictions.grid]
    marks = [text.get_text()[0] for text in sheet.figure.texts if text.get_text()[0] in "✓✗"]
    frames = [to_hex(axes.spines["top"].get_edgecolor()) for axes in sheet.figure.axes]
    assert marks == ["✓" if right else "✗" for right in is_right]
    assert frames == [RIGHT if right else WRONG for right in is_right]
    assert 0 < is_right.sum() < 30


def test_a_tile_names_the_true_and_the_predicted_class_and_its_probability() -> None:
    predictions = make_predictions(right=0.0)
    first = predictions.grid[0]
    labels = texts(prediction_grid(predictions))[2:4]
    truth, answer = (
        predictions.classes[predictions.labels_N[first]],
        predictions.classes[predictions.predicted_N[first]],
    )
    assert labels == [truth, f"✗ {answer}, {predictions.confidence_N[first]:.0%}"]


def test_small_images_keep_sharp_edges(tmp_path: Path) -> None:
    predictions = make_predictions(channels=1)
    prediction_grid(predictions).save(tmp_path / "grid.png")
    grays = [color[0] for _, color in Image.open(tmp_path / "grid.png").crop((60, 180, 160, 280)).getcolors(10_000)]
    assert len(set(grays)) <= 64, "an image of 8 by 8 pixels has that many values, blurred edges have more"


def test_the_caption_names_the_images_that_are_shown() -> None:
    predictions = make_predictions()
    for picture in (prediction_grid, mistakes_grid, confusion_picture, class_scores_picture, calibration_picture):
        sheet = picture(predictions)
        assert sheet is not None
        assert "90 validation images" in sheet.caption
        assert sheet.caption.split(".")[0] in " ".join(texts(sheet)).replace("\n", " ")


def test_without_a_mistake_there_is_no_picture_of_mistakes() -> None:
    assert mistakes_grid(make_predictions(right=1.0)) is None
    assert "No image was misclassified" in confusion_picture(make_predictions(right=1.0)).caption


def test_the_cells_of_the_confusion_matrix_hold_its_counts() -> None:
    predictions = make_predictions(images=9, right=0.0)
    axes = confusion_picture(predictions).figure.axes[0]
    cells = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert cells == {(0, 1): "3", (1, 2): "3", (2, 0): "3"}
    assert "cat as dog (3)" in confusion_picture(predictions).caption


@pytest.mark.parametrize("classes", [2, 10, 30, 120])
def test_the_names_of_the_classes_can_be_read_and_do_not_overlap(classes: int) -> None:
    names = tuple(f"n{number:08d}-a_rather_long_name" for number in range(classes))
    for picture in (confusion_picture, class_scores_picture):
        figure = picture(make_predictions(names, images=classes * 3)).figure
        renderer = FigureCanvasAgg(figure).get_renderer()
        labels = figure.axes[0].get_yticklabels()
        boxes = sorted((label.get_window_extent(renderer) for label in labels), key=lambda box: box.y0)
        assert len(boxes) == classes
        assert min(box.x0 for box in boxes) >= 0, "cut off"
        assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
        assert labels[0].get_fontsize() >= 5


def test_a_class_without_images_or_predictions_is_drawn(tmp_path: Path) -> None:
    predictions = make_predictions(("cat", "dog"), images=20)
    lonely = Predictions(
        source="test images (look 1)",
        classes=("cat", "dog", "yeti"),
        labels_N=predictions.labels_N,
        probabilities_NC=np.pad(predictions.probabilities_NC, ((0, 0), (0, 1))),
        kept_K=predictions.kept_K,
        images_KHWC=predictions.images_KHWC,
    )
    for picture in (confusion_picture, class_scores_picture, calibration_picture, coverage_picture, prediction_grid):
        sheet = picture(lonely)
        assert sheet is not None
        sheet.save(tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as drawn:
            assert drawn.info["Description"] == sheet.caption


def test_class_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    predictions = make_predictions(("cost $5", "$\\frac{", "猫"))
    for picture in (prediction_grid, confusion_picture, class_scores_picture):
        sheet = picture(predictions)
        assert sheet is not None
        sheet.save(tmp_path / "picture.png")
    assert {path.name for path in tmp_path.iterdir()} == {"picture.png"}


def test_a_long_name_is_cut_in_its_middle() -> None:
    assert elide("n02085620-Chihuahua", 12) == "n0208…huahua"
    assert len(elide("n02085620-Chihuahua", 11)) == 11
    assert elide("owl", 3) == "owl"


def test_a_thousand_classes_are_thinned_to_those_with_mistakes_and_the_rest_is_in_the_csv(tmp_path: Path) -> None:
    names = tuple(f"item-{number:04}" for number in range(1200))
    predictions = make_predictions(names, 3600, right=0.97)
    sheet = confusion_picture(predictions)
    assert "Of 1,200 classes, the 150 with the most mistakes are shown" in sheet.caption
    assert max(sheet.figure.get_size_inches()) < 30
    assert "1,050 classes with the best F1 are not shown" in class_scores_picture(predictions).caption
    write_confusion(predictions, tmp_path / "confusion.csv")
    lines = (tmp_path / "confusion.csv").read_text().splitlines()
    wrong = int((predictions.labels_N != predictions.predicted_N).sum())
    assert sum(int(line.rsplit(",", 1)[1]) for line in lines[1:]) == 3600
    assert sum(int(c) for a, b, c in (line.split(",") for line in lines[1:]) if a != b) == wrong > 50
