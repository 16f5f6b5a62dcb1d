"""The fused kernels against the layers that they stand for.

`tests/models/test_fused.py` runs these files in a process of their own, with `common.py` as a plugin. With
TRITON_INTERPRET=1 Triton's interpreter runs the kernels on a CPU; it has to be set before anything imports Triton.
Without it they run on a GPU.
"""
