"""Seconds, processor seconds and memory of a repeated step."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
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
    seconds, cpu = [], []
    for _ in range(number):
        started, used = time.perf_counter(), time.process_time()
        step()
        seconds.append(round(time.perf_counter() - started, 6))
        cpu.append(round(time.process_time() - used, 6))
    return {
        "step_seconds_median": statistics.median(seconds),
        "step_seconds_min": min(seconds),
        "step_seconds_max": max(seconds),
        "step_seconds": seconds,
        "step_cpu_seconds": cpu,
    }


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
