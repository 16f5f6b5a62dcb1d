"""Configurations as flat values, which Optuna draws, MLflow logs, a report shows in columns, and `--set` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data.errors import UserError
from models.config import TrainConfig
from models.registry import MODELS, config_class
from models.spelling import did_you_mean

FlatValue = str | int | float | bool


def to_flat(config: TrainConfig) -> dict[str, FlatValue]:
    """Every field with its value, including `model`; a tuple of values becomes text such as "3,4,5"."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}


def from_flat(values: Mapping[str, object]) -> TrainConfig:
    """The configuration with these values, and defaults for the others; the inverse of `to_flat`.

    Raises UserError, in one line, for an unknown model or field or a value out of range.
    """
    model = values.get("model")
    if not isinstance(model, str):
        raise UserError(f"model={model!r}: give the name of a model, one of {', '.join(MODELS)}")
    cls = config_class(model)
    _check_names(cls, values)
    try:
        return cls(**dict(values))  # type: ignore[arg-type]  # pydantic checks and converts each value
    except ValidationError as error:
        raise UserError(_explain(cls, values, error)) from None


def with_defaults(values: Mapping[str, FlatValue]) -> dict[str, FlatValue]:
    """Flat values that an earlier version stored, completed by the defaults of fields that were added since.

    Other keys stay as they are; values without a known `model` are returned unchanged.
    """
    model = values.get("model")
    defaults = to_flat(config_class(model)(model=model)) if isinstance(model, str) and model in MODELS else {}
    return {**defaults, **values}


def with_values(config: TrainConfig, values: Mapping[str, object]) -> TrainConfig:
    """A copy with some values replaced, all of them checked. With another `model`, fields that both have are kept.

    Raises UserError, in one line, for an unknown field or a value out of range.
    """
    cls = config_class(str(values.get("model", config.model)))
    _check_names(cls, values)
    known = {field.name for field in fields(cls)}
    kept = {field.name: getattr(config, field.name) for field in fields(config) if field.name in known}
    return from_flat({**kept, **values})


def parse_assignment(text: str) -> tuple[str, str]:
    """Split text such as "dropout=0.1" into name and value. Raises UserError if it does not have that form."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise UserError(f"{text!r}: write FIELD=VALUE, e.g. dropout=0.1")
    return name, value


def _check_names(cls: type[TrainConfig], values: Mapping[str, object]) -> None:
    known = [field.name for field in fields(cls)]
    for name in values:
        if name not in known:
            raise UserError(f"unknown field {name!r}.{did_you_mean(name, known)}")


def _explain(cls: type[TrainConfig], values: Mapping[str, object], error: ValidationError) -> str:
    """Pydantic's first error as one line: the value that was given, and the values that the field accepts."""
    name = str(error.errors(include_url=False)[0]["loc"][0])
    return f"{name}={values[name]!r}: give {_describe(TypeAdapter(cls).json_schema()['properties'][name])}"


def _describe(schema: Mapping[str, Any]) -> str:
    """The values that a field accepts, as text, from its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(_describe(alternative) for alternative in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if "const" in schema:
        return repr(schema["const"])
    if schema["type"] == "array":
        return f"several, each {_describe(schema['items'])}, separated by commas"
    if schema["type"] in ("integer", "number"):
        return _describe_number(schema)
    return {"boolean": "true or false", "string": "text"}[schema["type"]]


def _describe_number(schema: Mapping[str, Any]) -> str:
    words = "a whole number" if schema["type"] == "integer" else "a number"
    low, high = "minimum" in schema, "maximum" in schema
    if "exclusiveMinimum" in schema:
        words += f" above {schema['exclusiveMinimum']}"
    if low:
        words += f" from {schema['minimum']}" if high else f" of at least {schema['minimum']}"
    if "maximum" in schema:
        words += f" to {schema['maximum']}" if low else f" and at most {schema['maximum']}"
    if "exclusiveMaximum" in schema:
        words += f" and below {schema['exclusiveMaximum']}"
    return words
