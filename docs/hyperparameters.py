"""Write docs/hyperparameters.md from models/config.py: every field with its values, default and meaning.

python docs/hyperparameters.py
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from models.config import TrainConfig
from models.registry import MODELS

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Hyperparameters

Every field of a configuration. The same name is used in a study's spaces, after `--set`, in Optuna, in MLflow and in
the report. `python docs/hyperparameters.py` writes this page from `models/config.py`.

"""
_TABLE = ("| field | values | default | meaning |", "|---|---|---|---|")
_TYPES = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "string": "text"}


def page() -> str:
    """The whole page."""
    families = [f"## `{name}` only\n\n{_part(family.config)}" for name, family in MODELS.items()]
    return HEAD + "\n".join([f"## All families\n\n{_part(TrainConfig)}", *families])


def _part(config: type[TrainConfig]) -> str:
    """The fields that a class adds, under the headings that comments give them."""
    properties = TypeAdapter(config).json_schema()["properties"]
    lines = [inspect.cleandoc(config.__doc__ or ""), "", *_TABLE]
    for heading, name, meaning in _own_fields(config):
        if heading:
            lines += ["", f"**{heading}**", "", *_TABLE]
        schema = properties[name]
        default = f"`{_plain(schema['default'])}`" if "default" in schema else ""
        lines.append(f"| `{name}` | {_values(schema)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _own_fields(config: type[TrainConfig]) -> Iterator[tuple[str | None, str, str]]:
    """`(heading of a new group or None, field, meaning)`, as in the source; ValueError for one without meaning."""
    source = textwrap.dedent(inspect.getsource(config))
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for field, text in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign):
            continue
        assert isinstance(field.target, ast.Name)
        if not (isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)):
            raise ValueError(f"{config.__name__}.{field.target.id} has no docstring")
        above = lines[field.lineno - 2].strip()
        heading = above.removeprefix("# ").partition(".")[0] if above.startswith("# ") else None
        yield heading, field.target.id, " ".join(str(text.value.value).split()).replace("|", "\\|")


def _values(schema: dict[str, Any]) -> str:
    """The values that a field accepts, as text."""
    if "anyOf" in schema:
        return " or ".join(_values(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema["type"] == "array":
        return "several, separated by commas"
    bounds = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema
    ]
    return " ".join([_TYPES[schema["type"]], ", ".join(bounds)]).strip()


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
