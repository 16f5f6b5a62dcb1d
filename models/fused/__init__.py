"""Norm, activation and pooling behind a convolution, run on a GPU as one pass over memory instead of five or more.

    values = run_layers(network.children(), images_NCHW)

tails.py             which layers belong together, and when they may be run as one
function.py          their forward and backward pass for autograd
blocks.py            where a block lies in memory, and how it is normalised, for the kernels
launch.py            shapes, block sizes and grids: from tensors to kernel calls
forward_kernels.py   batch statistics; normalise, activate and pool
backward_kernels.py  gradients of the norm's weights; gradient of the convolution's output
activations.py       every activation and its derivative, for the kernels
availability.py      whether this machine can compile and run the kernels

The layers keep their parameters, buffers and names: this is a way of running them, not another kind of layer.
See docs/decisions/fused-layers.md.
"""

from models.fused.tails import layers_as_they_are, run_layers

__all__ = ["layers_as_they_are", "run_layers"]
