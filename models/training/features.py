"""Train on stored features of a frozen network, instead of passing the images through it in every epoch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from data.arrays import ImageSet, IntArray, SearchData
from data.augment import Augmentation
from data.batches import DeviceImages
from data.decode import DECODER_VERSION
from data.gpu_memory import free_gpu_memory
from data.progress import Progress
from models.config import BackboneConfig
from models.finetuning import BackboneClassifier
from models.preprocessing import Preprocessing
from models.training.extraction import Extraction
from models.training.feature_batches import FeatureEvalBatches, FeatureTrainBatches
from models.training.feature_store import FeatureStore, StoredArray

_EXTRACTION_VERSION = 1
_GPU_SHARD_ROWS = 512
"""Images that pass through a frozen network at a time on a GPU; fewer if they do not fit into memory."""
_MEMORY_SHARE = 0.5
"""Share of a GPU's free memory that features may use."""


def split_at_border(model: BackboneClassifier) -> tuple[nn.Module, BackboneClassifier] | None:
    """The frozen part of a network and the trained part, so that trained(frozen(images)) == model(images).

    They share the network's parameters, so training the trained part trains the network. None if nothing is frozen, if
    the frozen layers change between epochs, or if the features of an image are not always the same.
    """
    config = model.config
    changes = config.freezing in ("gradual", "head_first") or config.train_batch_norm
    if changes or config.cutmix or not model.frozen or not model.can_split:
        return None
    return model.split()


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of a search's images, and of one or more augmented views of those that are trained on."""

    stored: StoredArray
    """The rows of all images, then for each augmented view those of the images at `varied_M`. Maps are NHWC."""
    views: int
    """How many views of an image training draws from; the first is the image itself."""
    varied_M: IntArray
    """Positions of the images that have augmented views, in rising order."""
    mirrored: float | None = None
    """Probability of view 1 if the two views are an image and its mirror image; None: all views are equally likely."""
    train_M: IntArray
    """Positions of the training images."""
    val_M: IntArray
    """Positions of the validation images."""
    train_labels_M: IntArray
    val_labels_M: IntArray
    _on_device: dict[torch.device, Tensor] = field(default_factory=dict, init=False)
    """The stored array on a device: placed once, for the batches of all trials."""

    def train_batches(self, config: BackboneConfig, device: torch.device) -> FeatureTrainBatches:
        """Shuffled batches with a random view of each image; `mixup` mixes features (Verma et al. 2019)."""
        varied = len(self.varied_M)
        images = len(self.stored.values) - (self.views - 1) * varied
        first_view = images + np.searchsorted(self.varied_M, self.train_M)
        rows = np.concatenate([self.train_M, *(first_view + view * varied for view in range(self.views - 1))])
        placed = self._place(rows, np.tile(self.train_labels_M, self.views), device)
        return FeatureTrainBatches(
            placed, views=self.views, mirrored=self.mirrored, batch_size=config.batch_size, mixup=config.mixup,
            balanced=config.sampling == "balanced",
        )  # fmt: skip

    def val_batches(self, batch_size: int, device: torch.device) -> FeatureEvalBatches:
        """Batches of all validation images, in order, without augmentation."""
        return FeatureEvalBatches(self._place(self.val_M, self.val_labels_M, device), batch_size=batch_size)

    def _place(self, rows_M: IntArray, labels_M: IntArray, device: torch.device) -> DeviceImages:
        """The memory map itself on a CPU. A GPU gets all features if they fit, else those of each batch."""
        if device not in self._on_device and _fits(self.stored.values.nbytes, device):
            self._on_device[device] = torch.from_numpy(self.stored.values).to(device)
        pool = self._on_device.get(device)
        if pool is None:
            pool = torch.from_numpy(self.stored.values)
        else:
            device = pool.device  # With its index, as tensors name it: `cuda` and `cuda:0` do not compare equal.
        return DeviceImages(
            pool_NHWC=pool,
            rows_M=torch.from_numpy(rows_M).to(pool.device),
            labels_M=torch.from_numpy(labels_M).to(pool.device),
            device=device,
        )


def open_features(
    store: FeatureStore,
    frozen: nn.Module,
    data: SearchData,
    config: BackboneConfig,
    seen: Preprocessing,
    *,
    device: torch.device,
    views: int = 1,
    folds: bool = False,
    progress: Progress | None = None,
) -> Features | None:
    """The features of all images of a search. They are computed unless they are in the store already.

    View 0 is the image itself, the others are augmented as configured. Without augmentation there is only one view, and
    with horizontal mirrors alone there are two. Only training images have augmented views, unless the images are
    divided into `folds`: these share their features, and each trains on what others validate.
    Features are computed in eval mode, in bfloat16 if the configured `precision` allows it and the device is faster
    with it. Vectors are stored in float32, maps in float16. None if they do not fit into the store. Raises
    InfeasibleConfig if values are too large for float16, UserError as the store does.
    """
    augmentation, mirrored = replace(Augmentation.of(config), mixup=0.0, cutmix=0.0), None
    if augmentation == Augmentation():
        views = 1
    elif views > 1 and replace(augmentation, flip=0.0) == Augmentation():
        views, mirrored, augmentation = 2, augmentation.flip, Augmentation(flip=1.0)
    rows_M = np.union1d(data.train.rows_M, data.val.rows_M)
    images = ImageSet(pool_NHWC=data.train.pool_NHWC, rows_M=rows_M, labels_M=np.zeros_like(rows_M))
    train_M = np.searchsorted(rows_M, data.train.rows_M)
    varied_M = np.arange(len(rows_M)) if folds else np.sort(train_M)
    extraction = Extraction(frozen, images, config, seen, augmentation, device, varied_M)
    # A GPU needs many images at a time to be busy, and waits for the disk after each shard. The random draws of a view
    # depend on the shards, so another size of shards makes another array; a CPU keeps the size of earlier versions.
    shards = {"shard_rows": _GPU_SHARD_ROWS} if device.type == "cuda" else {}
    key = _key(
        {
            **shards,
            "version": _EXTRACTION_VERSION,
            "frozen": hash_weights(frozen),
            "layers": str(frozen),
            "data": data.fingerprint,
            "pixels": (DECODER_VERSION, data.pixel_rule.key),
            "rows": _hash(rows_M),
            "image": (*data.train.image_shape, config.image_fit),
            "mean": seen.mean,
            "std": seen.std,
            "dtype": str(extraction.dtype),
            "views": views,
            "augmentation": _named(augmentation) if views > 1 else None,
            **({"varied": _hash(varied_M)} if views > 1 and not folds else {}),
        }
    )
    stored = store.open(key, len(rows_M) + (views - 1) * len(varied_M), extraction, progress, **shards)
    if stored is None:
        return None
    return Features(
        stored=stored,
        views=views,
        varied_M=varied_M,
        mirrored=mirrored,
        train_M=train_M,
        val_M=np.searchsorted(rows_M, data.val.rows_M),
        train_labels_M=data.train.labels_M,
        val_labels_M=data.val.labels_M,
    )


def _fits(bytes_needed: int, device: torch.device) -> bool:
    return device.type != "cuda" or bytes_needed <= _MEMORY_SHARE * free_gpu_memory(device)


def hash_weights(module: nn.Module) -> str:
    """SHA-256 over the names, shapes and values of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _named(augmentation: Augmentation) -> dict[str, object]:
    """The fields that decide a view. Fields of later versions are omitted where they change nothing, so that arrays
    stay valid which were stored before.
    """
    unchanged = {"flip_alternating": False, "auto_augment": "none"}
    return {name: value for name, value in asdict(augmentation).items() if value != unchanged.get(name, ...)}


def _hash(positions_M: IntArray) -> str:
    return hashlib.sha256(positions_M.tobytes()).hexdigest()


def _key(parts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
