import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["data.cache", "data.sealed", "data.spec"])
def test_opening_data_imports_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print({{'torch', 'torchvision', 'sklearn', 'scipy', 'requests'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
