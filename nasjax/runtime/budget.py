"""What a search or a training will cost, printed before its first step."""

import contextlib
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from nasjax.base import InputError, RunError, Tree

#: What a user changes for a run to take less memory.
LESS_MEMORY = (
    "a smaller batch_size, channels or num_cells, dtype=bfloat16 or data.max_examples"
)
_CONTAINER = "/sys/fs/cgroup/memory.max"


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
      memory_bytes: of what the method keeps of each example and of supernets, part of
        the peak.
      compile_seconds: tracing and compilation of the step, or loading it compiled.
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
            f"(data {human(self.data_bytes)}B{kept}) · prepared in "
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
    """Memory of the first device, or of the machine where devices do not tell.

    Of a machine, what this process may have of it: a container or ``ulimit -v`` may
    leave it less. Where the system does not tell (Windows), the largest number.
    """
    limits = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in limits:
        return int(limits["bytes_limit"])
    if resource is None:
        return sys.maxsize
    page = os.sysconf("SC_PAGE_SIZE")
    bounds = [page * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        bounds.append(max(0, soft - page * mapped))
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        bounds.append(int(pathlib.Path(_CONTAINER).read_text()))
    return min(bounds)


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


def check_fits(what: str, needed: int) -> None:
    """Refuse a run that cannot fit, before its first step.

    Args:
      what: that takes the memory.
      needed: bytes; a lower bound will do.

    Raises:
      InputError: with both figures, and what lowers the first.
    """
    there = available_bytes()
    if needed > there:
        raise InputError(
            f"{what} takes {human(needed)}B of memory and the device has "
            f"{human(there)}B; {LESS_MEMORY} lower it"
        )


@contextlib.contextmanager
def explain_out_of_memory(needed: int = 0) -> Iterator[None]:
    """Tell of memory that has run out in one line.

    Args:
      needed: bytes of the compiled step, where they are known.

    Raises:
      RunError: instead of what JAX or Python raise.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        text = " ".join(str(error).split())
        if not (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text):
            raise
        asked = re.search(r"allocat\w* ([\d.,]+ ?\w*)", text)
        there = available_bytes()
        parts = [
            f"the step takes {human(needed)}B" if needed else "",
            f"the last piece was {asked[1]}" if asked else "",
            "" if there == sys.maxsize else f"the device has {human(there)}B",
        ]
        raise RunError(
            f"out of memory: {', '.join(filter(None, parts))}; {LESS_MEMORY} lower it"
        ) from error
