"""The options of `search.run`, and the command line that gives a parsed set of them again."""

from __future__ import annotations

import argparse
import shlex

from search.settings import add_arguments, add_cache_argument, add_trial_arguments

AUTO = "auto"
_NOT_PART_OF_THE_SEARCH = frozenset({"home", "storage", "tracking", "json", "plan", "test", "notify"})


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which study, on which images, and what of its configuration is fixed."""
    parser.add_argument("--study", required=True, help="a study's name, or a Python file that defines STUDY")
    parser.add_argument("--data", metavar="FOLDER", help="an image folder, or the name of a data set")
    parser.add_argument("--image-size", metavar="N", type=int, help="pixels; the same as --set image_size=N")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a field for all stages")
    add_cache_argument(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `search.run`."""
    add_study_arguments(parser)
    parser.add_argument("--name", help="keep the results under this name instead of the study's own")
    parser.add_argument(
        "--warm-start",
        metavar="NAME",
        help="begin with the best configurations of an earlier study",
    )
    parser.add_argument("--plan", action="store_true", help="print stages, spaces, trials and expected time, and stop")
    parser.add_argument("--budget", metavar="TIME", help="wall time for the whole run, such as 10m or 2h")
    parser.add_argument(
        "--trials-scale", metavar="X", type=float, default=1.0, help="run so many times the trials, such as 0.1"
    )
    parser.add_argument(
        "--epochs-scale", metavar="X", type=float, default=1.0, help="run so many times the epochs, such as 0.5"
    )
    parser.add_argument(
        "--flat", action="store_true", help="search what all stages vary at once, in one stage of as many epochs"
    )
    parser.add_argument(
        "--train-images", metavar="N", type=int, help="use only so many images, drawn per class before the split"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=_workers,
        help="default: one per GPU, or per CPU core; 0 only supervises; auto: more on a GPU that is not filled",
    )
    parser.add_argument("--devices", default="auto", help="auto (default), cpu, cuda, or cuda:0,1")
    parser.add_argument(
        "--launcher", choices=("local", "ray"), default="local", help="workers here (default), or on the Ray cluster"
    )
    parser.add_argument(
        "--gpus-per-worker", metavar="X", type=float, default=1.0, help="of the Ray cluster's, such as 0.5 (default: 1)"
    )
    parser.add_argument("--notify", metavar="URL", help="a webhook that is told when the study ends (or SIEVE_NOTIFY)")
    add_trial_arguments(parser)
    parser.add_argument("--test", action="store_true", help="open the sealed test set at the end, once")


def typed_command(options: argparse.Namespace) -> str:
    """The command that gives these options, for a shell; defaults are left out, and so is what may be a secret."""
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
    return f"python -m search.run {shlex.join(words)}"


def _workers(text: str) -> int | str:
    if text != AUTO and not text.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a number, or {AUTO}")
    return text if text == AUTO else int(text)
