"""Guided back-propagation and Grad-CAM: pixels that excite a neuron, and regions that support a class."""

from __future__ import annotations

import numpy as np
import torch

from models.inspect import Neuron, feature_maps, grad_cam, guided_backprop, strongest_neurons
from models.inspect.as_found import FloatArray
from search.pictures.grids import COLUMNS, TILE_IN, label_tile, tile_places
from search.pictures.layers import around_gray
from search.pictures.sheet import FAINT, RIGHT, WRONG, Sheet
from search.pictures.subject import Subject

_NEURONS = 10
_IN_A_ROW = 5
_GAP_IN = 0.12


def guided_backprop_picture(subject: Subject) -> Sheet:
    """Ten neurons of the last conv layer: the strongest neuron of each of the channels that respond most."""
    maps = {name: maps_1KHW[0] for name, maps_1KHW in feature_maps(subject.model, subject.image_1CHW).items()}
    layer = [name for name, maps_KHW in maps.items() if maps_KHW[0].size > 1 or len(maps) == 1][-1]
    neurons = strongest_neurons(maps[layer], _NEURONS)
    gradients_KCHW = guided_backprop(subject.model, subject.image_1CHW, layer, neurons)
    caption = (
        f"{subject.which}. For each of the {len(neurons)} channels of {layer} that respond most: the pixels that "
        "excite the channel's strongest neuron. Gray: no influence; ring: position of the neuron; each tile has its "
        "own scale. Method: Springenberg et al. 2015."
    )
    step_in, row_in = TILE_IN + _GAP_IN, TILE_IN + 0.3
    left_in = TILE_IN * 1.5 + 0.3
    rows = -(-len(neurons) // _IN_A_ROW)
    sheet = Sheet(
        "Guided back-propagation, last conv layer",
        caption,
        width_in=left_in + _IN_A_ROW * step_in,
        height_in=max(rows * row_in, TILE_IN * 1.5),
    )
    sheet.tile(0, 0, TILE_IN * 1.5, subject.pixels_HWC)
    for index, (neuron, gradient_CHW) in enumerate(zip(neurons, gradients_KCHW, strict=True)):
        tile_left_in = left_in + index % _IN_A_ROW * step_in
        top_in = index // _IN_A_ROW * row_in
        colored = gradient_CHW if len(gradient_CHW) == 3 else gradient_CHW.repeat(3, axis=0)
        axes = sheet.tile(tile_left_in, top_in, TILE_IN, around_gray(colored))
        column, row = _centre(neuron, maps[layer], gradient_CHW)
        axes.plot(column, row, "o", markersize=9, markerfacecolor="none", color=WRONG)
        sheet.text(tile_left_in, top_in + TILE_IN + 0.15, f"channel {neuron.channel}", size=8, color=FAINT)
    return sheet


def grad_cam_picture(subject: Subject) -> Sheet:
    """Ten images, each with the regions that support the predicted class."""
    predictions, shown = subject.predictions, subject.shown_K
    classes_K = torch.from_numpy(predictions.predicted_N[shown])
    regions_KHW = grad_cam(subject.model, subject.images_KCHW, classes_K)
    caption = (
        f"The first {len(shown)} {predictions.source} of the grid. Bright regions support the predicted class, "
        "according to the last conv layer (Selvaraju et al. 2017). First line: true class; second line: predicted "
        "class and its probability."
    )
    row_in = TILE_IN + 0.1
    places = tile_places(len(shown), row_in)
    sheet = Sheet("Grad-CAM", caption, width_in=COLUMNS * (TILE_IN + _GAP_IN) - _GAP_IN, height_in=2 * row_in + 0.4)
    for image, pixels_HWC, regions_HW, (left_in, _) in zip(
        shown, subject.pixels_KHWC, regions_KHW, places, strict=True
    ):
        frame = RIGHT if predictions.is_right_N[image] else WRONG
        sheet.tile(left_in, 0, TILE_IN, pixels_HWC, frame)
        axes = sheet.tile(left_in, row_in, TILE_IN, _gray(pixels_HWC), frame, cmap="gray", vmin=0, vmax=255)
        axes.imshow(
            regions_HW, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * np.sqrt(regions_HW), interpolation="bilinear"
        )
        label_tile(sheet, predictions, int(image), left_in, row_in + TILE_IN)
    return sheet


def _gray(pixels_HWC: np.ndarray) -> FloatArray:
    return np.asarray(pixels_HWC.mean(axis=2), dtype=np.float32)


def _centre(neuron: Neuron, maps_KHW: FloatArray, gradient_CHW: FloatArray) -> tuple[float, float]:
    """Column and row of the pixel at the centre of the neuron's receptive field."""
    rows, columns = gradient_CHW.shape[1] / maps_KHW.shape[1], gradient_CHW.shape[2] / maps_KHW.shape[2]
    return (neuron.column + 0.5) * columns - 0.5, (neuron.row + 0.5) * rows - 0.5
