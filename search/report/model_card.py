"""The model card of a champion: the description of its registered version."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from search.report.facts import StudyFacts
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


def hub_card(facts: StudyFacts) -> str:
    """The model card of a study's champion in the format of the Hugging Face Hub: metadata in YAML, then the text.

    With a look at the test set, the metadata holds the test accuracy as a result of the model; before it, the
    validation accuracy. Source: https://huggingface.co/docs/hub/model-cards.
    """
    champion, data = facts.record.champion, facts.record.data
    assert champion is not None
    if facts.test:
        split, accuracy = "test", facts.test.accuracy
    else:
        split, accuracy = "validation", champion.val_accuracy
    task = {"type": "image-classification", "name": "Image classification"}
    dataset = {
        "name": Path(data.spec.source).name,
        "type": "image-folder",
        "split": split,
        "revision": data.fingerprint,
    }
    metrics = [{"type": "accuracy", "name": f"{split} accuracy", "value": round(accuracy, 6)}]
    if facts.test:
        metrics.append({"type": "f1", "name": "test macro-F1", "value": round(facts.test.macro_f1, 6)})
    metadata = {
        "library_name": "mlflow",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "sieve"],
        "metrics": ["accuracy"],
        "model-index": [
            {"name": facts.record.name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}
        ],
    }
    # JSON is YAML, and needs no library of its own; a line for each key keeps it readable.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items()]
    return "\n".join(["---", *lines, "---", "", model_card(facts.record, champion)])
