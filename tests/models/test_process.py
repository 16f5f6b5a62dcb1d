from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from models.training.process import tune_process
if {tuned}:
    tune_process()
    assert torch.get_num_threads() == 1
    assert (torch.tensor([1e-38]) * 0.1).item() == 0, "denormals are kept"
def allocate():
    return torch.ones(16 * 2**20)
for _ in range(3):
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(tuned: bool) -> int:
    return int(subprocess.check_output([sys.executable, "-c", PROGRAM.format(tuned=tuned)], text=True))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is tuned on Linux alone")
def test_a_tuned_process_keeps_its_memory_instead_of_faulting_it_in_again() -> None:
    assert _page_faults(tuned=True) < 0.5 * _page_faults(tuned=False)
