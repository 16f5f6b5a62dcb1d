"""Parquet files as the Hugging Face hub stores images."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_parquet(folder: Path, split: str, count: int, *, names: bool = True) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    draw = np.random.default_rng(count)
    rows = []
    for number in range(count):
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(stream, "PNG")
        rows.append({"image": {"bytes": stream.getvalue(), "path": f"{number}.png"}, "label": number % 2})
    table = pa.Table.from_pylist(rows)
    if names:
        features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
