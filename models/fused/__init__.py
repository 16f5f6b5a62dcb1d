"""Runs the layers between convolutions, on a GPU, in one pass over memory instead of five or more.

These are norm, activation and pooling, and norm, residual and ReLU at the end of a residual block.

    values = run_layers(network.children(), images_NCHW)

tails.py             finds the layers that can run as one, and decides when they do
residual_blocks.py   runs the residual blocks of torchvision's ResNets by these decisions
agreement.py         compares the kernels with the layers before they are used
function.py          their forward and backward pass for autograd
addressing.py        addresses and normalisation of a block of values, for the kernels
kernel_calls.py      shapes, block sizes and grids: calls the kernels with tensors
residual_calls.py    the same for norm, residual and ReLU
forward_kernels.py   batch statistics; normalise, activate and pool
backward_kernels.py  gradients of the norm's weights; gradient of the convolution's output
residual_kernels.py  forward and backward pass of norm, residual and ReLU
activations.py       every activation and its derivative, for the kernels
availability.py      finds out whether this machine can compile and run the kernels

The layers keep their parameters, buffers and names; only the way in which they run changes.
See docs/decisions/fused-layers.md.
"""

from models.fused.tails import layers_as_they_are, run_layers

__all__ = ["layers_as_they_are", "run_layers"]
