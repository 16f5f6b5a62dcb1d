"""A study and its data as records that are pinned at its start and compared when its command runs again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from optuna.distributions import json_to_distribution

from data.arrays import SearchData
from data.cache import label_distribution
from data.errors import UserError
from data.spec import DataSpec
from models.values import to_flat, with_defaults, with_values
from search.stage.distributions import describe_distribution
from search.stage.pinning import pin_space
from search.store.records import StudyRecord
from search.store.study_data import StudyData
from search.store.study_definition import StageDefinition, StudyDefinition
from search.store.warm_start_record import WarmStart
from studies.definition import Stage, Study
from studies.probe import Probe

MAX_CHANGES_SHOWN = 3


def describe_study(study: Study) -> StudyDefinition:
    """The record of a study's definition. A space that depends on its base is described for the start configuration.

    A warm start is recorded with its name only, without the trials that it takes over.
    """
    warm = study.warm_start
    return StudyDefinition(
        description=study.description,
        config=to_flat(study.config),
        metric=study.metric,
        seed=study.seed,
        stages=tuple(_describe_stage(study, stage) for stage in study.stages),
        ending=study.ending,
        warm_start=None if warm is None else WarmStart(study=warm),
    )


def describe_data(spec: DataSpec, data: SearchData) -> StudyData:
    """The record of the images that a study learns from."""
    return StudyData(
        spec=spec,
        fingerprint=data.fingerprint,
        sealed_fingerprint=data.sealed_fingerprint,
        split_hash=data.split_hash,
        classes=tuple(data.classes),
        channels=data.channels,
        train=len(data.train),
        val=len(data.val),
        label_distribution=label_distribution(data),
        notes=(*data.notes, _label_note(data)),
    )


def _label_note(data: SearchData) -> str:
    counts = data.train.class_counts(len(data.classes))
    if counts.min() == counts.max():
        return f"{len(data.classes)} classes of {counts.min():,} training images each"
    fewest, most = data.classes[counts.argmin()], data.classes[counts.argmax()]
    return f"{len(data.classes)} classes, {counts.min():,} ({fewest}) to {counts.max():,} ({most}) training images each"


def check_unchanged(record: StudyRecord, definition: StudyDefinition, data: StudyData) -> None:
    """Raise UserError with a list of changes if a study's definition, data or split differs from the pinned one."""
    ignored = {"description", "notes", "taken", "skipped"}  # The last two hold the result of a warm start.
    # A field that was added since the study began has its default there: that is no change.
    pinned = replace(record.definition, config=with_defaults(record.definition.config))
    old = {"study": pinned.to_json(), "data": record.data.to_json()}
    new = {"study": definition.to_json(), "data": data.to_json()}
    if (data.fingerprint, data.sealed_fingerprint) == (record.data.fingerprint, record.data.sealed_fingerprint):
        ignored.add("source")  # The same images were moved.
    changes = [change for change in _differences(old, new) if change.split(" ")[0].split(".")[-1] not in ignored]
    if changes:
        shown = "; ".join(changes[:MAX_CHANGES_SHOWN])
        more = f"; and {len(changes) - MAX_CHANGES_SHOWN} more" if len(changes) > MAX_CHANGES_SHOWN else ""
        raise UserError(
            f"study {record.name!r} was started with other settings: {shown}{more}. "
            "Undo the change to continue it, or start a new study with --name NEW"
        )


def _describe_stage(study: Study, stage: Stage) -> StageDefinition:
    base = with_values(study.config, {**stage.values, "epochs": stage.epochs})
    return StageDefinition(
        name=stage.name,
        trials=stage.trials,
        epochs=stage.epochs,
        bases=stage.bases,
        extends=stage.extends,
        sampler=stage.sampler,
        pruner=stage.pruner,
        values=dict(stage.values),
        against=stage.against,
        probe_images=stage.images if isinstance(stage, Probe) else 0,
        tries=tuple(stage.tries),
        early_end=stage.early_end,
        space={parameter.name: asdict(parameter) for parameter in pin_space(stage.space_around(base))},
    )


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif old != new and path.endswith(".distribution") and isinstance(old, str) and isinstance(new, str):
        was, now = (describe_distribution(json_to_distribution(text)) for text in (old, new))
        yield f"{path.removesuffix('.distribution')} was {was}, is {now}"
    elif old != new:
        yield f"{path} was {_short(old)}, is {_short(new)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
