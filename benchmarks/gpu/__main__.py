"""Measure all figures of a GPU in under five minutes.

    python -m benchmarks.gpu --data CIFAR10 --large PICTURES [--parts steps,gang,W3] [--json] [--save [FOLDER]]

Parts: steps (images per second of the training core, by network), gang (images per second summed over trials that train
at once), memory (the limit set by memory traffic), fused (fused layers compared with torch's), W3, W4, W5 (short runs
compared with the other contenders), time-to-accuracy (seconds to 94 and 95 % on CIFAR-10's validation images). If a
part fails or takes too long, this is reported and the others continue. `--save` updates gpu.json in benchmarks/results
or another folder after each measurement, and keeps other parts' figures of the same GPU. `--smoke` is a dry run of
every part on any machine, as small as possible.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from benchmarks.gpu.parts import PARTS, run_part
from benchmarks.machine import describe_gpu, describe_machine
from benchmarks.results import FOLDER, read_result, write_result
from data.errors import SieveError, UserError
from search.cli import CommandParser, main_guard
from search.terminal import print_json, say

RESULT = "gpu"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts in turn, store and print their figures. Raises SieveError at the end if a part failed."""
    options = _parse(argv)
    folder: Path | None = options.save
    machine = describe_machine()
    result: dict[str, Any] = {"machine": machine, "versions": {**machine["versions"], **describe_gpu()}}
    if folder and (stored := read_result(RESULT, folder)) and stored["machine"]["gpus"] == machine["gpus"]:
        result = {**stored, **result}
    setting = {
        "device": "cuda:0" if torch.cuda.is_available() else "cpu",
        "smoke": options.smoke,
        "data": options.data and str(options.data),
        "large": options.large and str(options.large),
    }
    for name in options.parts:
        say(f"{name}: at most {PARTS[name].limit_s:g} s")
        for figures in run_part(name, setting, PARTS[name].limit_s):
            merge(result, figures)
            add_shares(result)
            if folder:
                write_result(RESULT, result, folder)
        done = result["parts"][name]
        say(f"{name}: {done['seconds']:.0f} s{', FAILED: ' + done['error'] if done['error'] else ''}")
    if options.json:
        print_json(result)
    else:
        _print(result)
    failed = [name for name in options.parts if result["parts"][name]["error"]]
    if failed:
        raise SieveError(f"{', '.join(failed)}: not measured, see above")


def merge(result: dict[str, Any], figures: Mapping[str, Any]) -> None:
    """Merge figures into the result, mapping by mapping; a figure replaces an earlier one of the same name."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            inner = result.setdefault(name, {})
            merge(inner, value)
        else:
            result[name] = value


def add_shares(result: dict[str, Any]) -> None:
    """Add the share of its limit that each network reaches, where both were measured."""
    for name, limit in result.get("memory_limit", {}).items():
        if name in result.get("images_per_s", {}):
            limit["share"] = result["images_per_s"][name] / limit["images_per_s"]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help=f"parts to measure: {', '.join(PARTS)}")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="CIFAR-10 as train/<class>/*")
    parser.add_argument("--large", type=Path, metavar="FOLDER", help="10,000 pictures of about 224 px, as for --data")
    parser.add_argument("--smoke", action="store_true", help="a dry run on any machine; its figures mean nothing")
    save_help = "keep gpu.json in FOLDER (default: benchmarks/results)"
    parser.add_argument("--save", type=Path, nargs="?", const=FOLDER, metavar="FOLDER", help=save_help)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args(argv)
    if not options.smoke and not torch.cuda.is_available():
        raise UserError("torch finds no GPU; use --smoke for a dry run without a GPU")
    if options.smoke and options.save == FOLDER:
        raise UserError("--smoke --save: the figures of a dry run are not kept; name another folder")
    for option in ("data", "large"):
        folder = getattr(options, option)
        if folder and not folder.is_dir():
            raise UserError(f"--{option} {folder}: no such folder")
    return options


def _parts(text: str) -> list[str]:
    asked = text.split(",")
    unknown = [name for name in asked if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{','.join(unknown)}: not a part; choose from {', '.join(PARTS)}")
    return [name for name in PARTS if name in asked]


def _end(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def _print(result: Mapping[str, Any]) -> None:
    for name, rate in result.get("images_per_s", {}).items():
        print(f"{name:24} {rate:12,.0f} images/s")
    for name, limit in result.get("memory_limit", {}).items():
        share = f", {limit['share']:.0%} of it reached" if "share" in limit else ""
        print(f"{name:24} {limit['images_per_s']:12,.0f} images/s allowed by memory traffic{share}")
    for name, ratios in result.get("ratio", {}).items():
        times = ", ".join(f"{ratio:.1f} times {contender}" for contender, ratio in ratios.items())
        print(f"{name:24} {times}; gate {'passed' if result['gate'][name] else 'NOT passed'}")
    reached = result.get("time_to_accuracy")
    if reached:
        for target, seconds in reached["seconds"].items():
            print(f"{target:24} {f'{seconds:.1f} s' if seconds else 'not reached'}, {reached['study']}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # An exit also ends the running part's process.
    sys.exit(main_guard(main))
