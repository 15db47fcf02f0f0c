"""The loop's own figures: how fast the steps were."""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.runtime import loop
from nasjax.runtime.parallel import Devices
from nasjax.runtime.workdir import Workdir
from tests.searching import Silence

IMAGES, SECONDS = 8, 0.08
#: What a thread that wakes late takes of the time of the next dispatch.
LATE = 1.4


class State(NamedTuple):
    step: jax.Array


class Sum:
    """A result that comes later, as that of an accelerator does."""

    def __init__(self, future: Future):
        self._future = future

    def is_ready(self) -> bool:
        return self._future.done()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self._future.result(), dtype)


class Device:
    """Runs dispatches one after the other, beside the host, and takes their time."""

    def __init__(self, *, waits: bool):
        self._waits = waits
        self._worker = ThreadPoolExecutor(1)
        self.seconds: list[float] = []

    def _run(self, steps: int) -> float:
        started = time.perf_counter()
        time.sleep(steps * SECONDS)
        self.seconds.append(time.perf_counter() - started)
        return 1.0

    def dispatch(self, state: State, first: int, until: int):
        future = self._worker.submit(self._run, until - first)
        if self._waits:
            future.result()
        return State(jnp.int32(until)), {"loss": Sum(future)}


@pytest.mark.parametrize("waits", [True, False], ids=["cpu", "accelerator"])
@pytest.mark.parametrize("slow", [0, 1, 2])
def test_no_rate_is_above_that_of_the_steps(tmp_path, waits: bool, slow: int):
    """However long the host takes over the figures of a dispatch."""
    device, seen = Device(waits=waits), []

    def values(metrics, last: int) -> dict[str, float]:
        if len(seen) == slow:  # as where the first ones are compiled
            time.sleep(4 * SECONDS)
        seen.append(last)
        return {"loss": float(metrics["loss"])}

    task = loop.Task(
        new_state=lambda: State(jnp.int32(0)),
        dispatch=device.dispatch,
        values=values,
        sound=lambda state: {},
        steps_per_epoch=5,
        epochs=1,
        images_per_step=IMAGES,
        devices=Devices(1, IMAGES),
    )
    workdir = Workdir(tmp_path)
    workdir.open({})
    with loop.Run(task, workdir, Silence(), steps_per_dispatch=2) as run:
        assert list(run.epochs()) == [1]
    workdir.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    rates = [row["values"]["images_per_second"] for row in rows]
    steps = [2, 2, 1]
    assert seen == [2, 4, 5]
    for rate, number, seconds in zip(rates, steps, device.seconds, strict=True):
        assert rate <= LATE * IMAGES * number / seconds
        assert rate > IMAGES / SECONDS / 8  # nor is it of nothing
