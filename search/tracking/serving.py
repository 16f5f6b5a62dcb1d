"""The registered model's code: MLflow runs this file wherever the model is loaded, with or without Sieve installed.

Beside it lie the packages `models` and `data` and the classifier's own files (safetensors and JSON, nothing pickled).

    model = mlflow.pyfunc.load_model("models:/NAME@champion")
    probabilities = model.predict(images_NHWC)     # uint8 (N, H, W, C) -> float32 (N, classes)
    model.metadata.metadata["classes"]             # the names of the columns
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from models.bundle import Classifier, load_bundle


class SieveClassifier(PythonModel):
    """A trained classifier with its preprocessing, on a GPU where there is one."""

    classifier: Classifier

    def load_context(self, context: PythonModelContext) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.classifier = load_bundle(Path(context.artifacts["classifier"]), device)

    # MLflow takes a type hint for a schema, and warns of one that it cannot read; a plain array it leaves alone.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Class probabilities, float32 (N, classes), of uint8 pictures (N, H, W, C); any N.

        `params={"precision": "auto"}` computes them as validation did: in bfloat16 where the device is faster with it.
        """
        precision = (params or {}).get("precision", "fp32")
        return self.classifier.predict_proba(np.asarray(model_input, dtype=np.uint8), precision=precision)


set_model(SieveClassifier())
