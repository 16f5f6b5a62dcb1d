"""Count the multiply-accumulates (MACs) for one image and the learned parameters of a FlexCNN, layer by layer.

    sieve complexity --image-size 64 --set conv_layers=3 --set filters=32

The counts are exact and follow from the configuration alone. MACs are the products of convolutions and dense layers,
including those with zero padding. A bias is a parameter but no MAC; batch norm has parameters but no MACs. Activations,
pooling, and batch norm's running statistics, which are not learned, are not counted. A library that reports FLOPs
counts two for each MAC.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from data.errors import InfeasibleConfig, UserError
from data.text import printable
from models.command_parser import CommandParser
from models.config import FlexCNNConfig
from models.shapes import InputShape, network_shape
from models.values import parse_assignment, with_values


@dataclass(frozen=True)
class LayerCost:
    """One layer that has parameters. `name` is its name in the built network."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    """Shape of the output for one image: (C, H, W), or (neurons,)."""
    macs: int
    parameters: int


def layers(config: FlexCNNConfig, input_shape: InputShape, classes: int) -> list[LayerCost]:
    """MACs for one image and learned parameters of each layer.

    Raises InfeasibleConfig if the network cannot be built.
    """
    shape = network_shape(config, input_shape, classes)
    costs: list[LayerCost] = []
    for number, block in enumerate(shape.blocks, start=1):
        weights = block.kernel_size**2 * block.channels * block.filters
        output_shape = (block.filters, *block.conv_size)
        bias = 0 if config.batch_norm else block.filters
        macs = weights * block.conv_size[0] * block.conv_size[1]
        costs.append(LayerCost(f"conv{number}", "conv", output_shape, macs, weights + bias))
        if config.batch_norm:
            costs.append(LayerCost(f"norm{number}", "batch norm", output_shape, 0, 2 * block.filters))

    features = shape.features
    if config.dense_width:
        costs.append(_dense("dense", features, config.dense_width))
        features = config.dense_width
    costs.append(_dense("output", features, classes))
    return costs


def total_macs(costs: list[LayerCost]) -> int:
    """MACs of all layers for one image."""
    return sum(cost.macs for cost in costs)


def total_parameters(costs: list[LayerCost]) -> int:
    """Learned parameters of all layers."""
    return sum(cost.parameters for cost in costs)


@dataclass(frozen=True)
class ClosedForm:
    """The totals as formulas for m filters of k x k in every conv layer and n neurons in the dense layer."""

    macs: str
    parameters: str
    note: str


def closed_form(config: FlexCNNConfig, input_shape: InputShape, classes: int) -> ClosedForm:
    """The totals for m filters of k x k in every conv layer and n dense neurons; everything else as configured.

    The areas of the feature maps are numbers: with `same` padding they do not depend on m, k or n; with other padding
    they are those of the configured kernel. Raises InfeasibleConfig if the network cannot be built.
    """
    shape = network_shape(config, input_shape, classes)
    areas = [block.conv_size[0] * block.conv_size[1] for block in shape.blocks]
    first, rest, depth = input_shape[0] * areas[0], sum(areas[1:]), len(areas)
    pixels = shape.features // shape.blocks[-1].filters
    inputs = f"{pixels}·m"
    # Per filter: the batch norm's scale and shift, or the conv's own bias.
    extra = 2 * depth if config.batch_norm else depth

    conv_macs = f"k²·m·({first} + {rest}·m)"
    conv_parameters = f"k²·m·({input_shape[0]} + {depth - 1}·m) + {extra}·m"
    if config.dense_width:
        head_macs, head_parameters = f"{inputs}·n + {classes}·n", f"({inputs} + 1)·n + {classes}·(n + 1)"
    else:
        head_macs, head_parameters = f"{inputs}·{classes}", f"({inputs} + 1)·{classes}"
    exact = config.padding == "same"
    return ClosedForm(
        macs=f"{conv_macs} + {head_macs}",
        parameters=f"{conv_parameters} + {head_parameters}",
        note="for any m, k, n" if exact else f"for any m, n and the feature maps of k = {config.kernel_size}",
    )


def build_parser(prog: str = "python -m models.complexity") -> CommandParser:
    """The command's options. `prog` is the command as the user typed it."""
    parser = CommandParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--image-size", metavar="N", type=int, default=224, help="height and width of an image in pixels (default: 224)"
    )
    parser.add_argument("--channels", metavar="N", type=int, default=3, help="colour channels of an image (default: 3)")
    parser.add_argument("--classes", metavar="N", type=int, default=10, help="number of classes (default: 10)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="set a field of the network, e.g. filters=64"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m models.complexity") -> int:
    """Print the table and the closed form. Returns the exit code: 0 done, 2 bad input."""
    try:
        options = build_parser(prog).parse_args(arguments)
        assignments = dict(parse_assignment(text) for text in options.set)
        config = with_values(FlexCNNConfig(), {"image_size": options.image_size, **assignments})
        assert isinstance(config, FlexCNNConfig)
        input_shape = (options.channels, config.image_size, config.image_size)
        costs = layers(config, input_shape, options.classes)
        formula = closed_form(config, input_shape, options.classes)
    except (UserError, InfeasibleConfig) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    if options.json:
        print(_as_json(costs, formula))
    else:
        _print_table(costs, formula)
    return 0


def _as_json(costs: list[LayerCost], formula: ClosedForm) -> str:
    totals = {"macs": total_macs(costs), "parameters": total_parameters(costs)}
    return json.dumps({"layers": [asdict(cost) for cost in costs], **totals, "closed_form": asdict(formula)})


def _print_table(costs: list[LayerCost], formula: ClosedForm) -> None:
    table = Table("layer", "kind", "output", show_footer=True)
    table.add_column("MACs", f"{total_macs(costs):,}", justify="right")
    table.add_column("parameters", f"{total_parameters(costs):,}", justify="right")
    table.columns[0].footer = "total"
    for cost in costs:
        shape = "x".join(map(str, cost.output_shape))
        table.add_row(cost.name, cost.kind, shape, f"{cost.macs:,}", f"{cost.parameters:,}")
    console = Console()
    console.print(table)
    console.print(f"m filters of k x k in every conv layer, n dense neurons ({formula.note}):", highlight=False)
    console.print(
        f"  MACs       = {formula.macs}\n  parameters = {formula.parameters}", highlight=False, soft_wrap=True
    )


def _dense(name: str, inputs: int, outputs: int) -> LayerCost:
    return LayerCost(name, "dense", (outputs,), inputs * outputs, (inputs + 1) * outputs)


if __name__ == "__main__":
    sys.exit(main())
