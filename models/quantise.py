"""A classifier's ONNX file with 8-bit integers: smaller, and faster where the processor has instructions for them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data.arrays import UInt8Array

_CALIBRATION_BATCH = 16


def write_int8(onnx_file: Path, images_NHWC: UInt8Array, path: Path) -> None:
    """Write the file with weights and activations of convolutions and dense layers as 8-bit integers.

    The ranges of activations are those of `images_NHWC`, which should be validation images: a hundred are enough.
    Static quantisation with a scale for each channel of the weights (Jacob et al. 2018; Krishnamoorthi 2018). The
    inputs and outputs stay those of `onnx_file`. Needs onnxruntime.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = _batches(images_NHWC)

        def get_next(self) -> dict[str, UInt8Array] | None:
            return next(self._batches, None)

    logging.getLogger().addFilter(_is_no_advice)  # It advises on the root logger to do what is done here.
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            prepared = Path(scratch) / "prepared.onnx"
            quant_pre_process(str(onnx_file), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared), str(path), Images(), quant_format=QuantFormat.QDQ, per_channel=True,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"], activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )  # fmt: skip
    finally:
        logging.getLogger().removeFilter(_is_no_advice)


def _batches(images_NHWC: UInt8Array) -> Iterator[dict[str, UInt8Array]]:
    for start in range(0, len(images_NHWC), _CALIBRATION_BATCH):
        yield {"images": images_NHWC[start : start + _CALIBRATION_BATCH]}


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()
