"""The options of `sieve run`, and the command line that reproduces a parsed set of them."""

from __future__ import annotations

import argparse
import shlex

from search.settings import add_arguments, add_cache_argument, add_trial_arguments
from search.supervisor.data_options import add_data_arguments

AUTO = "auto"
_NOT_PART_OF_THE_SEARCH = frozenset({"home", "storage", "tracking", "json", "plan", "test", "notify"})


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that select a study and its images, and fix fields of its configuration."""
    parser.add_argument(
        "--study", metavar="NAME", required=True,
        help="a study's name, e.g. quickstart, or a Python file that defines STUDY, e.g. mine.py",
    )  # fmt: skip
    add_data_arguments(parser)
    parser.add_argument(
        "--image-size", metavar="N", type=int, help="scale images to N x N pixels; short for --set image_size=N"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help="fix a field of the configuration in all stages, e.g. dropout=0.3",
    )  # fmt: skip
    add_cache_argument(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sieve run`."""
    add_study_arguments(parser)
    parser.add_argument(
        "--name", help="store the results under this name, e.g. first-try (default: the study's own name)"
    )
    parser.add_argument(
        "--warm-start", metavar="NAME", help="start with the best configurations of the earlier study NAME"
    )
    parser.add_argument(
        "--backbones", metavar="LIST", default="",
        help="backbones that the study's probe stage compares, e.g. resnet50,timm/NAME,timm/NAME=FILE",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="print stages, spaces, trials and expected time, then exit")
    parser.add_argument("--budget", metavar="TIME", help="time limit for the whole run, e.g. 10m or 2h")
    parser.add_argument(
        "--trials-scale", metavar="X", type=float, default=1.0, help="multiply every stage's number of trials, e.g. 0.1"
    )
    parser.add_argument(
        "--epochs-scale", metavar="X", type=float, default=1.0, help="multiply every stage's number of epochs, e.g. 0.5"
    )
    parser.add_argument(
        "--flat", action="store_true", help="search the parameters of all stages at once, in a single stage"
    )
    parser.add_argument(
        "--early-end", action="store_true",
        help="end a stage when the gain that is still possible lies below the noise between seeds",
    )  # fmt: skip
    parser.add_argument(
        "--train-images", metavar="N", type=int, help="use only N images, sampled from each class before the split"
    )
    parser.add_argument(
        "--workers", metavar="N", type=_workers,
        help="number of workers; 0: start none, only supervise; auto: add workers to GPUs that have capacity left "
        "(default: one per GPU, or one per CPU core)",
    )  # fmt: skip
    parser.add_argument("--devices", default="auto", help="auto (default), cpu, cuda, or a list of GPUs, e.g. cuda:0,1")
    parser.add_argument(
        "--launcher", choices=("local", "ray"), default="local",
        help="where to start workers: local (this machine, default) or ray (a Ray cluster)",
    )  # fmt: skip
    parser.add_argument(
        "--gpus-per-worker", metavar="X", type=float, default=1.0,
        help="with --launcher ray: GPUs for each worker, e.g. 0.5 (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--notify",
        metavar="URL",
        help="webhook or apprise URL to notify when the study ends (default: none, or SIEVE_NOTIFY)",
    )
    add_trial_arguments(parser)
    parser.add_argument("--test", action="store_true", help="open the sealed test set at the end of the search")


def typed_command(options: argparse.Namespace) -> str:
    """The shell command with these options. It leaves out defaults, and URLs that may contain a secret."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    add_run_arguments(parser)
    words = []
    for name, value in vars(options).items():
        if name in _NOT_PART_OF_THE_SEARCH or value == parser.get_default(name):
            continue
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
            continue
        for entry in value if isinstance(value, list) else [value]:
            words += [flag, f"{entry:g}" if isinstance(entry, float) else str(entry)]
    return f"sieve run {shlex.join(words)}"


def _workers(text: str) -> int | str:
    if text != AUTO and not text.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a number, or {AUTO}")
    return text if text == AUTO else int(text)
