"""The model card of a champion: the description of its registered version."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from search.report.metric import Metric, percent, plural, show_value
from search.store.champion_record import ChampionRecord
from search.store.records import StudyRecord


def model_card(record: StudyRecord, champion: ChampionRecord) -> str:
    """Markdown for people who use the model: intended use, data, figures, training, limits, seeds.

    `champion` is the result of `search.verdict.champion.choose_champion`. The card has no test accuracy, because the
    version is registered before the test set is opened. Source of the format: Mitchell et al. 2019, "Model cards for
    model reporting".
    """
    start, config = record.definition.config, champion.config
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("model_card.md.j2").render(
        record=record,
        data=record.data,
        champion=champion,
        accuracy=Metric(name="val_accuracy", images=record.data.val),
        changed={name: value for name, value in config.items() if name == "model" or value != start.get(name)},
        percent=percent,
        plural=plural,
        show_value=show_value,
    )
