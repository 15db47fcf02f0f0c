"""What a search or a training will cost, printed before its first step."""

import os
from typing import Any, NamedTuple

import jax

from nasjax.base import InputError, Tree


class Budget(NamedTuple):
    """Cost of a search or a training.

    Attributes:
      weights: numbers in the network.
      alphas: architecture parameters; a training has none.
      macs: multiply-accumulates of one image forward; of a sampled path the upper
        bound, the dearest operation on every edge it may run.
      peak_bytes: of the compiled step, arguments and temporaries, from the
        compiler's memory analysis.
      data_bytes: of the data set on the devices, part of the peak.
      memory_bytes: of what the method keeps of each example, part of the peak.
      compile_seconds: tracing and compilation of the step.
      step_seconds: one trial step on a copy of the state.
      seconds_per_epoch: the trial step times the steps of an epoch; evaluation not
        counted.
    """

    weights: int
    alphas: int
    macs: int
    peak_bytes: int
    data_bytes: int
    memory_bytes: int
    compile_seconds: float
    step_seconds: float
    seconds_per_epoch: float

    def __str__(self) -> str:
        alphas = f"alpha {self.alphas:,} · " if self.alphas else ""
        kept = f", teachers {human(self.memory_bytes)}B" if self.memory_bytes else ""
        return (
            f"weights {self.weights:,} · {alphas}"
            f"MACs/image {human(self.macs)} · memory {human(self.peak_bytes)}B "
            f"(data {human(self.data_bytes)}B{kept}) · compiled in "
            f"{self.compile_seconds:.1f} s · step {self.step_seconds:.3g} s · "
            f"epoch about {duration(self.seconds_per_epoch)}"
        )


def human(value: float) -> str:
    """A number with a decimal prefix.

    >>> human(1930618), human(512)
    ('1.93 M', '512 ')
    """
    value = float(f"{value:.3g}")  # 999,999 is 1 M, not 1e+03 k
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {prefix}"
    return f"{value:.3g} "


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(0.25), duration(75), duration(4000)
    ('0.25 s', '1 min 15 s', '1 h 07 min')
    """
    if round(seconds) < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if round(seconds) < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def peak_bytes(compiled: Any) -> int:
    """Arguments, results and temporaries of a compiled program, aliases once."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    return int(
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def tree_bytes(tree: Tree) -> int:
    """Bytes of all arrays (or shapes of arrays) of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def available_bytes() -> int:
    """Memory of the first device, or of the machine where devices do not tell."""
    limits = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in limits:
        return int(limits["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(memory: Tree) -> None:
    """Refuse a memory of a method that cannot fit.

    Raises:
      InputError: with both figures.
    """
    needed, there = tree_bytes(memory), available_bytes()
    if needed > there:
        raise InputError(
            f"the method's memory of its examples takes {human(needed)}B and the "
            f"device has {human(there)}B; a smaller window, ring_dtype=bfloat16 or "
            "data.max_examples lower it"
        )
