"""Timings beside PyTorch's, each side in a process of its own.

`__main__` has the flags, `suite` what is measured, `worker` runs one side of one
measurement in a fresh process, `nasjax_side` and `torch_side` are the two sides.
"""
