"""The model card of a champion: the description of its registered version."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from search.report.metric import Metric, percent, plural, show_value
from search.store.champion_record import ChampionRecord
from search.store.records import StudyRecord


def model_card(record: StudyRecord, champion: ChampionRecord) -> str:
    """What people must know before they use the model, as Markdown: data, intended use, figures, limits, seeds.

    `champion` comes from `search.verdict.champion.choose_champion`. The test figure is not part of it, since the
    version is registered before the seal is opened. Source of the form: Mitchell et al. 2019, "Model cards for
    model reporting".
    """
    start, config = record.definition["config"], champion.config
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
