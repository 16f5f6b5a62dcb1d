"""Every activation of `models.flexcnn.ACTIVATIONS` and its derivative, as functions that Triton kernels call.

They use only Triton's own operations, which are the same on every GPU and in its interpreter. NaN stays NaN, as in
torch.
"""

# mypy: ignore-errors
# Triton compiles its own language, with tuples that grow and values whose types the compiler infers.

import triton
import triton.language as tl


@triton.jit
def activate(z, ACTIVATION: tl.constexpr):
    """The activation of a block of values, in their own number format (float32 or float64)."""
    if ACTIVATION == "relu":
        y = tl.where(z <= 0, 0.0, z)
    elif ACTIVATION == "leaky_relu":
        y = tl.where(z > 0, z, z * 0.01)
    elif ACTIVATION == "gelu":
        y = 0.5 * z * (1 + tl.erf(z * 0.7071067811865476))
    elif ACTIVATION == "silu":
        y = z / (1 + tl.exp(-z))
    elif ACTIVATION == "mish":
        y = z * tanh_softplus(z)
    else:
        tl.static_assert(ACTIVATION == "elu")
        y = tl.where(z > 0, z, tl.exp(z) - 1)
    return y


@triton.jit
def slope(z, ACTIVATION: tl.constexpr):
    """The derivative of the activation at z; at a kink, the same as torch's."""
    if ACTIVATION == "relu":
        d = tl.where(z <= 0, 0.0, 1.0).to(z.dtype)
    elif ACTIVATION == "leaky_relu":
        d = tl.where(z > 0, 1.0, 0.01).to(z.dtype)
    elif ACTIVATION == "gelu":
        d = 0.5 * (1 + tl.erf(z * 0.7071067811865476)) + z * tl.exp(-0.5 * z * z) * 0.3989422804014327
    elif ACTIVATION == "silu":
        s = 1 / (1 + tl.exp(-z))
        d = s * (1 + z * (1 - s))
    elif ACTIVATION == "mish":
        t = tanh_softplus(z)
        d = t + z * (1 - t * t) / (1 + tl.exp(-z))
    else:
        tl.static_assert(ACTIVATION == "elu")
        d = tl.where(z > 0, 1.0, tl.exp(z))
    return d


@triton.jit
def tanh_softplus(z):
    """tanh(log(1 + e^z)) without overflow: above 20 it is 1 in float32 and in float64."""
    e = tl.exp(tl.where(z > 20, 20.0, z))
    n = e * (e + 2)
    return n / (n + 2)
