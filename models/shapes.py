"""The shapes of a FlexCNN, computed from its configuration without building it.

`models.flexcnn` builds from these numbers and `models.complexity` counts with them, so the two cannot disagree. A
configuration that cannot be built is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import InfeasibleConfig
from models.config import FlexCNNConfig

InputShape = tuple[int, int, int]
"""Channels, height, width."""
Size = tuple[int, int]
"""Height, width."""

PARAMETER_LIMIT = 2**31
"""Maximum number of parameters of a single layer: 8 GiB of float32, without gradients and optimiser state."""


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """One block: a conv layer, then optional pooling."""

    channels: int
    """Number of input channels."""
    filters: int
    """Number of output channels."""
    kernel_size: int
    pad_before: int
    """Zero pixels added above and to the left."""
    pad_after: int
    """Zero pixels added below and to the right; one more than `pad_before` for `same` padding of an even kernel."""
    conv_size: Size
    """Size of the feature maps after the conv layer."""
    size: Size
    """Size of the feature maps after the pooling."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """The blocks of a network, and the number of values that reach the dense layers."""

    blocks: tuple[BlockShape, ...]
    features: int


def network_shape(config: FlexCNNConfig, input_shape: InputShape, classes: int) -> NetworkShape:
    """Compute every size of the network.

    Raises InfeasibleConfig, naming the layer and the size, if an image shrinks below 1x1, if a per-layer value has the
    wrong length, if a layer is left without filters, or if one has more than PARAMETER_LIMIT parameters.
    """
    kernel_sizes = _per_layer("kernel_size", config.kernel_size, config.conv_layers)
    filters = _per_layer("filters", config.filters, config.conv_layers)
    channels, *size = input_shape
    blocks: list[BlockShape] = []
    for index, kernel_size in enumerate(kernel_sizes):
        width = filters[index] if isinstance(config.filters, tuple) else _scaled_filters(config, index)
        block = _block_shape(config, f"conv{index + 1}", channels, width, kernel_size, (size[0], size[1]))
        channels, size = width, list(block.size)
        blocks.append(block)

    features = channels if config.head_pooling == "avg" else channels * size[0] * size[1]
    if config.dense_width:
        _check_parameters("dense", features * config.dense_width)
    _check_parameters("output", (config.dense_width or features) * classes)
    return NetworkShape(blocks=tuple(blocks), features=features)


def _per_layer(name: str, value: int | tuple[int, ...], layers: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * layers
    if len(value) != layers:
        given = ",".join(map(str, value))
        raise InfeasibleConfig(
            f"{name}={given}: {len(value)} values for conv_layers={layers}; give one, or one per layer"
        )
    return value


def _scaled_filters(config: FlexCNNConfig, index: int) -> int:
    assert isinstance(config.filters, int)
    filters = round(config.filters * config.filter_factor**index)
    if filters < 1:
        raise InfeasibleConfig(
            f"conv{index + 1}: no filters left (filters={config.filters}, filter_factor={config.filter_factor:g}); "
            "use more filters, a larger factor or fewer layers"
        )
    return filters


def _block_shape(
    config: FlexCNNConfig, name: str, channels: int, filters: int, kernel_size: int, size: Size
) -> BlockShape:
    _check_parameters(name, kernel_size**2 * channels * filters)
    if config.padding == "same":
        pad_before, pad_after = (kernel_size - 1) // 2, kernel_size // 2
    else:
        pad_before = pad_after = config.padding

    conv_size = _slide(size, kernel_size, config.stride, pad_before + pad_after)
    _check_size(f"{name}: a {kernel_size}x{kernel_size} kernel", size, conv_size)
    pooled_size = conv_size if config.pooling == "none" else _slide(conv_size, config.pool_size, config.pool_size, 0)
    _check_size(f"{name}: {config.pooling} pooling by {config.pool_size}", conv_size, pooled_size)
    return BlockShape(
        channels=channels,
        filters=filters,
        kernel_size=kernel_size,
        pad_before=pad_before,
        pad_after=pad_after,
        conv_size=conv_size,
        size=pooled_size,
    )


def _slide(size: Size, window: int, stride: int, padding: int) -> Size:
    """Number of positions of a sliding window on each axis; `padding` is the sum of both sides."""
    height, width = ((pixels + padding - window) // stride + 1 for pixels in size)
    return height, width


def _check_size(what: str, before: Size, after: Size) -> None:
    if min(after) < 1:
        raise InfeasibleConfig(
            f"{what} does not fit into {before[0]}x{before[1]} pixels; "
            "use fewer conv_layers, more padding, less pooling or a larger image_size"
        )


def _check_parameters(name: str, parameters: int) -> None:
    if parameters > PARAMETER_LIMIT:
        raise InfeasibleConfig(
            f"{name}: {parameters:,} parameters in one layer, more than {PARAMETER_LIMIT:,}; "
            "use fewer filters, a narrower dense_width, more pooling or head_pooling=avg"
        )
