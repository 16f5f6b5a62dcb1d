"""Measure finished trials per hour, compared with other libraries.

    python -m benchmarks.throughput --workload W1 --data FOLDER_OF_CIFAR10 [--contenders A,A+,B,C,ours,ours-alone]

W1 and W2 run on a CPU, W3 to W5 need a GPU. W2 and W5 take `--backbone` and `--weights`. The machine must be otherwise
idle. Contenders take turns; each trains as many of the 64 configurations as fit into its time, and trials per hour
count the trials that it finished. `--save` keeps the result in `benchmarks/results`.

`--epochs 2 --trials 1` makes a short run: one trial of each other contender and one turn of ours, of two epochs each.
Trials per hour are then computed for whole trials at the measured speed. The accuracies of so few epochs mean little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import torch

from benchmarks.folders import lay_out
from benchmarks.frozen_reference import reference_accuracies
from benchmarks.machine import describe_machine
from benchmarks.results import write_result
from benchmarks.summary import summarise
from benchmarks.turns import CONTENDERS, OURS, Block, run_block, task_of
from benchmarks.workloads import WORKLOADS, Workload, shortened
from data.errors import UserError
from data.parallel import cpu_cores
from models.config import BackboneConfig
from models.values import with_values
from search.cli import CommandParser, main_guard
from search.terminal import print_json, say


def measure(workload: Workload, contenders: Sequence[str], source: Path, scratch: Path) -> dict[str, Any]:
    """Run the benchmark on the images below `source` and return its figures; all files are written below `scratch`."""
    counts = lay_out(source, scratch / "images", images=workload.images, val_share=workload.val_share)
    say(f"{counts['train']} images train, {counts['val']} validate")
    blocks: list[Block] = []
    end = time.monotonic() + workload.limit_s
    for contender, number in order_of_turns(workload, contenders):
        earlier = [block.measured.wall_s for block in blocks if block.contender == contender]
        if earlier and time.monotonic() + max(earlier) > end:
            say(f"{contender}: no time left for another block")
            continue
        block = run_block(contender, workload, number, scratch / "images", scratch)
        say(f"{contender}: {len(block.trials)} trials in {block.training_s:.1f} s, {block.startup_s:.1f} s to start")
        blocks.append(block)
    reference = None
    if isinstance(workload.config, BackboneConfig) and workload.config.freezing == "freeze_all":
        say("training the gate's reference: A's loop on stored features of its frozen network")
        every = replace(workload, others_trials=None)
        task = task_of(every, 0, scratch / "images", scratch / "reference.jsonl", box_s=0.0)
        reference = {(0, slot): accuracy for slot, accuracy in enumerate(reference_accuracies(task))}
    devices = torch.cuda.device_count() if workload.device == "cuda" else cpu_cores()
    return {
        **summarise(workload, blocks, train_images=counts["train"], devices=devices, reference=reference),
        "title": workload.title,
        "targets": workload.targets,
        "images": counts,
        "machine": describe_machine(),
    }


def order_of_turns(workload: Workload, contenders: Sequence[str]) -> list[tuple[str, int]]:
    """Return contender and table of each block: in every round the others in turn, with ours after each of them."""
    others = [name for name in contenders if name != OURS]
    theirs = [(name, number) for number in range(workload.rounds) for name in others]
    if OURS not in contenders:
        return theirs
    if workload.others_trials:
        return [*theirs, (OURS, 0)]
    return [turn for number, their in enumerate(theirs) for turn in (their, (OURS, number))] or [(OURS, 0)]


def main() -> None:
    """Measure the workload and print or keep the result."""
    parser = CommandParser(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workload", required=True, choices=WORKLOADS)
    parser.add_argument("--data", required=True, type=Path, help="train/<class>/* or <class>/*")
    contenders_help = f"contenders, separated by commas: {', '.join(CONTENDERS)} (default: the workload's)"
    parser.add_argument("--contenders", help=contenders_help)
    parser.add_argument("--configs", type=_at_least_one, help="number of configurations in a block")
    parser.add_argument("--epochs", type=_at_least_one, help="epochs of each trial, fewer than the workload's")
    trials_help = "maximum trials of each other contender; ours then has a single turn, at the end"
    parser.add_argument("--trials", type=_at_least_one, help=trials_help)
    parser.add_argument("--box", type=_seconds, help="seconds after which other contenders start no further trial")
    parser.add_argument("--backbone", help="backbone of W2 and W5, e.g. timm/tf_efficientnet_lite0")
    parser.add_argument("--weights", help="file of the backbone's weights, for W2 and W5")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    workload = shortened(
        _changed(WORKLOADS[options.workload], options.backbone, options.weights),
        epochs=options.epochs,
        trials=options.trials,
        box_s=options.box,
        configs=options.configs,
    )
    contenders = options.contenders.split(",") if options.contenders else workload.contenders
    unknown = [name for name in contenders if name not in CONTENDERS]
    if unknown:
        raise UserError(f"--contenders {','.join(unknown)}: not a contender; choose from {', '.join(CONTENDERS)}")
    if workload.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{options.workload} needs a GPU, but torch finds none; W1 and W2 run on a CPU")
    with tempfile.TemporaryDirectory(prefix="sieve-benchmark-") as scratch:
        result = {"workload": options.workload, **measure(workload, contenders, options.data, Path(scratch))}
    if options.save:
        say(f"kept: {write_result(f'throughput-{options.workload}-{options.data.name}', result)}")
    if options.json:
        print_json(result)
    else:
        _print(result)


def _changed(workload: Workload, backbone: str | None, weights: str | None) -> Workload:
    asked = {"backbone": backbone, "weights": weights}
    given = {name: str(Path(value).resolve()) if name == "weights" else value for name, value in asked.items() if value}
    if given and not isinstance(workload.config, BackboneConfig):
        raise UserError(f"--{' and --'.join(given)}: this workload has no backbone; W2 and W5 have")
    return replace(workload, config=with_values(workload.config, given))


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of at least 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of seconds greater than 0")
    return seconds


def _print(result: dict[str, Any]) -> None:
    for name, figure in result["contenders"].items():
        print(
            f"{name:5} {figure['trials_per_hour']:8.1f} trials/hour, warm {figure['trials_per_hour_warm']:.1f}; "
            f"{figure['images_per_s']:,.0f} images/s; accuracy {figure['val_accuracy']:.4f}; "
            f"{figure['finished_trials']} trials finished"
        )
    ratios = ", ".join(f"{ratio:.2f}x {name}" for name, ratio in result["ratio"].items())
    print(f"ours: {ratios}; gate {'passed' if result['gate'] else 'NOT passed'}")


if __name__ == "__main__":
    sys.exit(main_guard(main))
