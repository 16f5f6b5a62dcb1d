"""The code of the registered model. MLflow runs this file to load the model; Sieve need not be installed.

The model's folder also holds the packages `models` and `data`, and the classifier's files (safetensors and JSON).

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
    """A trained classifier with its preprocessing, on a GPU if there is one."""

    classifier: Classifier

    def load_context(self, context: PythonModelContext) -> None:
        """Load the classifier from the model version's files onto the GPU if there is one, else onto the CPU."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.classifier = load_bundle(Path(context.artifacts["classifier"]), device)

    # MLflow reads type hints as a schema and warns about those it cannot read; it accepts a plain array.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Class probabilities, float32 (N, classes), of uint8 images (N, H, W, C), for any N.

        `params={"precision": "auto"}` computes them as validation did: in bfloat16 if the device is faster with it.
        """
        precision = (params or {}).get("precision", "fp32")
        return self.classifier.predict_proba(np.asarray(model_input, dtype=np.uint8), precision=precision)


set_model(SieveClassifier())
