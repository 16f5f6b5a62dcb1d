"""The data sets that are known by name: where each comes from, its licence, its checksum."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file to download that holds an image folder."""

    url: str
    root: str
    """The image folder inside the archive."""
    checksum: str | None
    """`algorithm:hex` as published. None: there is none; the first download is trusted and remembered."""

    @property
    def file_name(self) -> str:
        """The last part of the URL, under which the archive is stored."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set known by name."""

    title: str
    classes: int
    licence: str
    archive: Archive | None
    """None: comes with an installed library."""


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        title="8x8 handwritten digits of scikit-learn (UCI optical digits, test part)",
        classes=10,
        licence="CC BY 4.0",
        archive=None,
    ),
    "cifar10": Dataset(
        title="CIFAR-10 (Krizhevsky 2009) as PNG files",
        classes=10,
        licence="none stated; research use, cite Krizhevsky 2009",
        archive=Archive(url="https://s3.amazonaws.com/fast-ai-imageclas/cifar10.tgz", root="cifar10", checksum=None),
    ),
    "imagenette": Dataset(
        title="Imagenette v2, 320 px (fast.ai): ten easy classes of ImageNet",
        classes=10,
        licence="ImageNet's terms: non-commercial research",
        archive=Archive(
            url="https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
            root="imagenette2-320",
            checksum="md5:3df6f0d01a2c9592104656642f5e78a3",
        ),
    ),
    "hymenoptera": Dataset(
        title="Ants and bees, of PyTorch's transfer-learning tutorial",
        classes=2,
        licence="ImageNet's terms: non-commercial research",
        archive=Archive(
            url="https://download.pytorch.org/tutorial/hymenoptera_data.zip", root="hymenoptera_data", checksum=None
        ),
    ),
    "inaturalist-12k": Dataset(
        title="iNaturalist-12K: ten classes of nature pictures",
        classes=10,
        licence="iNaturalist's terms: non-commercial, each picture under its author's licence",
        archive=Archive(
            url="https://storage.googleapis.com/wandb_datasets/nature_12K.zip", root="inaturalist_12K", checksum=None
        ),
    ),
}
