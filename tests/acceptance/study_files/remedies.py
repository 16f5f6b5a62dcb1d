"""A class of the digits made rare, and two remedies as an ablation on two folds; every checkpoint is kept."""

from models.config import FlexCNNConfig
from studies.definition import Ablation, Study

STUDY = Study(
    name="remedies",
    description="The digit 9 made rare: class weights and label smoothing, alone and together.",
    data="digits",
    metric="val_macro_f1",
    folds=2,
    imbalance=12.0,
    rare_class="9",
    config=FlexCNNConfig(
        image_size=8,
        conv_layers=2,
        filters=8,
        dense_width=16,
        batch_size=128,
        learning_rate=1e-2,
        keep_checkpoints=True,
    ),
    ablation=Ablation(
        factors={
            "weights": {"none": {}, "inverse": {"class_weights": "inverse_frequency"}},
            "smoothing": {"none": {}, "some": {"label_smoothing": 0.1}},
        },
        epochs=2,
        seeds=2,
    ),
)
