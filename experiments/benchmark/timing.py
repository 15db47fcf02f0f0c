"""Seconds, processor seconds and memory of a repeated step."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def repeat(step: Callable[[], Any], number: int) -> dict[str, Any]:
    """Time a step that has run before.

    Args:
      step: returns when its work is done.
      number: of steps.

    Returns:
      ``step_seconds`` of every step, in order, its median, smallest and largest, and
      ``step_cpu_seconds``, of all threads, of every step.
    """
    return in_turn([step], number)[0]


def in_turn(
    steps: Sequence[Callable[[], Any]], number: int
) -> tuple[dict[str, Any], ...]:
    """`repeat` of several steps, one of each after the other, ``number`` times.

    A machine whose speed drifts is then as fast for one as for another.
    """
    seconds: list[list[float]] = [[] for _ in steps]
    cpu: list[list[float]] = [[] for _ in steps]
    for _ in range(number):
        for index, step in enumerate(steps):
            started, used = time.perf_counter(), time.process_time()
            step()
            seconds[index].append(round(time.perf_counter() - started, 6))
            cpu[index].append(round(time.process_time() - used, 6))
    return tuple(
        {
            "step_seconds_median": statistics.median(own),
            "step_seconds_min": min(own),
            "step_seconds_max": max(own),
            "step_seconds": own,
            "step_cpu_seconds": own_cpu,
        }
        for own, own_cpu in zip(seconds, cpu, strict=True)
    )


def process_peak_bytes() -> int:
    """The most memory this process has held, or since `forget_peak`."""
    if _STATUS.exists():  # what getrusage tells there, a process inherits
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Begin `process_peak_bytes` anew, where the system can."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return
