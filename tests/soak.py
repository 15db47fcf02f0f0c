"""A long search of a small network: does its memory grow, do its steps slow down?

    python -m tests.soak [--epochs=200] [--method=sd_darts]

Runs ``python -m experiments.search`` with a save after every epoch, and reads the
process's resident memory and the speed that it logs. One JSON object a tenth of the
run, and one of the whole: growth is the slope of a line through the last three quarters
of the run, times its length, in per cent of where it starts.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np
from scipy import stats

from tests.kill_test import arguments, rows
from tests.launching import start, wait


class Sample(NamedTuple):
    """Of one moment: the last epoch that was logged, and resident bytes."""

    epoch: int
    resident: int


def resident(process: int) -> int:
    """Bytes of a process that are in memory; 0 once it is gone."""
    try:
        text = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")]
    return 1024 * int(found[0]) if found else 0


def watch(flags: list[str], folder: pathlib.Path) -> list[Sample]:
    """Run a search to its end, and sample it."""
    process = start(*flags, f"--workdir={folder}")
    samples = []
    while process.poll() is None:
        size = resident(process.pid)
        epochs = [row["epoch"] for row in rows(folder) if row["phase"] == "valid"]
        if epochs and size:
            samples.append(Sample(epochs[-1], size))
        time.sleep(0.2)
    ended = wait(process)
    if ended.code:
        raise RuntimeError(f"the search ended with {ended.code}: {ended.err}")
    return samples


def growth(values: list[float]) -> float:
    """Of a line through the last three quarters, in per cent of where it starts.

    The line of Theil and Sen: a pause of the machine bends one of least squares.
    """
    late = np.asarray(values[len(values) // 4 :])
    slope, first, *_ = stats.theilslopes(late, np.linspace(0.0, 1.0, len(late)))
    return round(100 * float(slope / first), 2)


def main() -> int:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description="A long search of a small network.")
    parser.add_argument("--epochs", type=int, default=200, help="of 3 steps")
    parser.add_argument("--method", default="sd_darts")
    given = parser.parse_args()
    flags = [*arguments(given.method, given.epochs), "--checkpoint_minutes=10"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name) / "run"
        samples = watch(flags, folder)
        speeds = [
            row["values"]["images_per_second"]
            for row in rows(folder)
            if row["phase"] == "train"
        ]
    for tenth in range(10):
        low, high = (given.epochs * (tenth + i) // 10 for i in (0, 1))
        sizes = [s.resident for s in samples if low <= s.epoch < high]
        part = speeds[len(speeds) * tenth // 10 : len(speeds) * (tenth + 1) // 10]
        found = {
            "epochs": [low + 1, high],
            "resident_mb": round(max(sizes, default=0) / 1e6, 1),
            "images_per_second": round(statistics.median(part)),
        }
        print(json.dumps(found), flush=True)
    whole = {
        "epochs": given.epochs,
        "samples": len(samples),
        "memory_growth_percent": growth([s.resident for s in samples]),
        "speed_growth_percent": growth(speeds),
    }
    print(json.dumps(whole), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
