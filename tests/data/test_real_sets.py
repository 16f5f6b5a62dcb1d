import os
from pathlib import Path

import pytest

from data.archives import unpack
from data.cache import open_search_data
from data.sealed import open_test_images
from data.spec import DataSpec

REAL = os.environ.get("SIEVE_TEST_DATA")


@pytest.mark.skipif(not REAL, reason="SIEVE_TEST_DATA does not name a folder with hymenoptera.tar.gz")
def test_ants_and_bees_open_with_val_as_the_sealed_test_set(tmp_path: Path) -> None:
    unpack(Path(str(REAL)) / "hymenoptera.tar.gz", "hymenoptera_data", tmp_path / "hymenoptera")
    spec = DataSpec(source="hymenoptera")
    found = open_search_data(spec, image_size=64, image_fit="crop", data_home=tmp_path, cache_home=tmp_path / "cache")
    assert (len(found.train), len(found.val), found.classes) == (196, 49, ("ants", "bees"))
    sealed = open_test_images(
        spec,
        classes=found.classes,
        channels=3,
        image_size=64,
        image_fit="crop",
        data_home=tmp_path,
        cache_home=tmp_path / "cache",
    )
    assert len(sealed.images) == 153
    assert sealed.fingerprint == found.sealed_fingerprint
