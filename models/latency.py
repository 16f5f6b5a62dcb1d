"""How fast and how well a classifier's files answer on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from data.arrays import IntArray, UInt8Array

LATENCY_BATCHES = (1, 64)
_REPEATS = 9
_SECONDS = 2.0
"""Most seconds of the timing of one batch size, beside its warm-up and one repeat."""
_SCORED = 64

Predict = Callable[[UInt8Array], npt.NDArray[np.float32]]
"""uint8 images (N, height, width, channels) -> class probabilities (N, classes)."""


@dataclass(frozen=True, kw_only=True)
class FileFigures:
    """The figures of one exported file."""

    file: str
    size_bytes: int
    val_accuracy: float | None
    """Share of the validation images that it classifies correctly; None if it was trained on them."""
    val_images: int
    latency_ms: dict[int, float]
    """Median milliseconds for one batch, by the number of images in it."""

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return asdict(self)


def measure_file(path: Path, predict: Predict, images_NHWC: UInt8Array, labels_N: IntArray | None) -> FileFigures:
    """Score a file on images, unless `labels_N` is None, and time it on batches of them."""
    accuracy = None
    if labels_N is not None:
        parts = [predict(images_NHWC[start : start + _SCORED]) for start in range(0, len(images_NHWC), _SCORED)]
        accuracy = float((np.concatenate(parts).argmax(axis=1) == labels_N).mean())
    return FileFigures(
        file=path.name,
        size_bytes=path.stat().st_size,
        val_accuracy=accuracy,
        val_images=len(images_NHWC),
        latency_ms={batch: _batch_ms(predict, images_NHWC, batch) for batch in LATENCY_BATCHES},
    )


def onnx_predict(path: Path) -> Predict:
    """The answers of an ONNX file on the processor, with as many threads as onnxruntime chooses. Needs onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def predict(images_NHWC: UInt8Array) -> npt.NDArray[np.float32]:
        (probabilities_NC,) = session.run(None, {"images": images_NHWC})
        answered: npt.NDArray[np.float32] = probabilities_NC
        return answered

    return predict


def _batch_ms(predict: Predict, images_NHWC: UInt8Array, batch: int) -> float:
    repeated = np.resize(images_NHWC, (batch, *images_NHWC.shape[1:]))
    predict(repeated)  # The first call of a size prepares memory.
    took_s: list[float] = []
    while len(took_s) < _REPEATS and sum(took_s) < _SECONDS:
        started_s = time.perf_counter()
        predict(repeated)
        took_s.append(time.perf_counter() - started_s)
    return round(1000 * median(took_s), 3)
