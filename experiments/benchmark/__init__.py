"""Timings beside PyTorch's, each side in a process of its own.

`__main__` has the flags, `suite` what is measured, `worker` runs one side of one
measurement in a fresh process; the sides are `nasjax_side` and, made of the tests'
oracles, `tests.oracles.torch_side`.
"""
