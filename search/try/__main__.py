"""Let a running study try a configuration that you pick.

    sieve try --study NAME learning_rate=0.003 filters=64

The next trial of the running stage gets these parameters, and the sampler draws the others. The number of trials does
not change. The report marks the trial as picked by hand, and it competes like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from data.errors import UserError
from models.values import parse_assignment
from search.cli import CommandParser, command_parser, main_guard
from search.settings import Settings, enter_home
from search.stage.hand_picked import for_waiting_slots, given_trials
from search.store.find import find_study
from search.store.hand_picked import pick_next
from search.store.records import read_stages
from search.store.storage import open_storage
from search.terminal import print_json


def try_next(settings: Settings, study: str, chosen: dict[str, str]) -> dict[str, Any]:
    """Give the next free trial of a study's running stage these parameters; return what `--json` prints.

    Raises UserError if the study does not exist, no search stage runs, no trial is free, or the stage does not search
    a parameter or a value.
    """
    storage = open_storage(settings.storage_url, create=False)
    try:
        definition = find_study(storage, study).definition
        running = [stage for stage in read_stages(storage, study, state="open") if not stage.pinned.is_final]
        if not running:
            raise UserError(f"{study} has no running search stage; `sieve status --study {study}` shows its stages")
        stage = running[-1]
        given = given_trials(definition, stage.position)
        parameters = for_waiting_slots(stage.pinned, chosen, given=given)
        number = pick_next(storage, stage.optuna_study, parameters)
    finally:
        storage.close()
    if number is None:
        raise UserError(
            f"{study}: no trial of {stage.name} is left whose parameters you can choose: all of them have begun or "
            "were skipped"
        )
    return {"study": study, "stage": stage.name, "trial": number, "parameters": parameters[number]}


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.try", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study that runs")
    parser.add_argument(
        "parameters", metavar="NAME=VALUE", nargs="+", help="a parameter of the running stage, e.g. dropout=0.2"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    chosen = dict(parse_assignment(text) for text in options.parameters)
    picked = try_next(enter_home(options), options.study, chosen)
    if options.json:
        print_json(picked)
    else:
        values = ", ".join(f"{name}={value}" for name, value in picked["parameters"].items())
        print(f"{picked['stage']}: trial {picked['trial']} gets {values}")


if __name__ == "__main__":
    sys.exit(main_guard(main))
