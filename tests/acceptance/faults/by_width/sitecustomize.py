"""What becomes of a network depends on its width: each goes wrong in a way of its own."""

import time

import torch
from torch import Tensor

from models.flexcnn import FlexCNN

HANGS, BREAKS_THE_DEVICE, TAKES_MEMORY, TAKES_ALL_MEMORY, HAS_A_BUG = 5, 6, 7, 8, 9
ROOM_FOR = 100
_forward = FlexCNN.forward


def _go_wrong(self: FlexCNN, images_NCHW: Tensor) -> Tensor:
    match next(self.parameters()).shape[0]:
        case width if width == HANGS and self.training:
            time.sleep(1000)
        case width if width == BREAKS_THE_DEVICE:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        case width if width == TAKES_ALL_MEMORY and self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        case width if width == TAKES_MEMORY and len(images_NCHW) > ROOM_FOR:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        case width if width == HAS_A_BUG:
            raise ZeroDivisionError("a bug")
    return _forward(self, images_NCHW)


FlexCNN.forward = _go_wrong  # type: ignore[method-assign]
