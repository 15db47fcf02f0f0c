"""A feed of batches that the host makes while the devices compute."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, Tree
from nasjax.data.augment import normalise
from nasjax.data.batches import Batch
from nasjax.retrain.feeds import Dispatch, Evaluate
from nasjax.retrain.step import Measure, Step, TrainState
from nasjax.runtime.loop import Metrics
from nasjax.runtime.parallel import Devices


class HostBatch(Protocol):
    """Examples on the host; those of weight 0 only fill the last batch up."""

    @property
    def images(self) -> np.ndarray:
        """``[B, H, W, Ch]`` uint8, cropped and mirrored already."""

    @property
    def labels(self) -> np.ndarray:
        """``[B]`` int32."""

    @property
    def ids(self) -> np.ndarray:
        """``[B]`` int32."""

    @property
    def weights(self) -> np.ndarray:
        """``[B]`` float32, 1 or 0."""


class Batches(Protocol):
    """Batches of one split, by number; what a batch holds follows from its number."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every example once."""

    def batches(self, *, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """`HostBatch`es ``start`` to ``stop - 1``, epoch on epoch."""


class Streamed(NamedTuple):
    """A data set that is read while the devices compute.

    Attributes:
      train: batches to train on, shuffled and augmented, without an end.
      valid: of what is held out, one epoch in order; None where there is none.
      test: of the test split, likewise.
      mean: ``[Ch]`` float32 in units of [0, 1], what images are normalised by.
      std: likewise.
      devices: that share a batch.
      position: where `train` is open: ``{"step": int, "batches": iterator}``.
    """

    train: Batches
    valid: Batches | None
    test: Batches
    mean: Array
    std: Array
    devices: Devices
    position: dict[str, Any]

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every training example once."""
        return self.train.steps_per_epoch

    @property
    def has_valid(self) -> bool:
        """Whether examples are held out."""
        return self.valid is not None

    @property
    def identity(self) -> dict[str, Any]:
        """How many batches there are, and what images are normalised by.

        Files are not read through for it.
        """
        statistics = {"mean": self.mean, "std": self.std}
        return {
            "steps_per_epoch": self.steps_per_epoch,
            "held_out": self.has_valid,
            **{name: np.asarray(one).tolist() for name, one in statistics.items()},
        }

    @property
    def num_bytes(self) -> int:
        """Of the training examples on the devices: none of them stays there."""
        return 0

    def _on_device(self, batch: Any) -> Batch:
        """A batch whose images are still uint8."""
        parts = batch.images, batch.labels, batch.ids, batch.ids, batch.weights
        return self.devices.spread_batch(Batch(*parts))

    def _normalised(self, batch: Batch) -> Batch:
        images = normalise(batch.images, mean=self.mean, std=self.std)
        return batch._replace(images=images)

    def _opened(self, step: int) -> Iterator[Batch]:
        """The training batches from a step on, the next one on its way already."""
        position = self.position
        if position.get("step") != step:
            self.close()
            batches = self.train.batches(start=step)
            position["step"] = step
            position["source"] = batches
            position["batches"] = _ahead(map(self._on_device, batches))
        return position["batches"]

    def close(self) -> None:
        """End the open stream, and with it the workers that read."""
        source = self.position.get("source")
        if source is not None and hasattr(source, "close"):
            source.close()
        self.position.clear()

    def dispatch(self, step: Step, state: TrainState) -> tuple[Dispatch, Any]:
        """Compile the training (`Feed.dispatch`)."""

        def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
            return step(state, self._normalised(batch))

        batches = self._opened(0)
        first_batch = next(batches)
        self.position["batches"] = itertools.chain([first_batch], batches)
        compiled = (
            self.devices.jit(train_step, others=0, updates=True)
            .lower(state, first_batch)
            .compile()
        )

        def dispatch(
            state: TrainState, first: int, until: int
        ) -> tuple[TrainState, Metrics]:
            batches, total = self._opened(first), None
            for _ in range(first, until):
                state, sums = compiled(state, next(batches))
                total = sums if total is None else _added(total, sums)
            self.position["step"] = until
            assert total is not None
            return state, total

        return dispatch, compiled

    def evaluate(self, measure: Measure) -> Evaluate:
        """The evaluation of a split (`Feed.evaluate`)."""

        def run(state: TrainState, batch: Batch) -> Metrics:
            return measure(state, self._normalised(batch))

        compiled = self.devices.jit(run, others=0)

        def evaluate(state: TrainState, split: str) -> Metrics:
            source = self.test if split == "test" else self.valid
            assert source is not None
            batches = source.batches(stop=source.steps_per_epoch)
            total: Metrics | None = None
            for batch in _ahead(map(self._on_device, batches)):
                sums = compiled(state, batch)
                total = sums if total is None else _added(total, sums)
            assert total is not None
            return total

        return evaluate


@jax.jit
def _added(one: Tree, other: Tree) -> Tree:
    return jax.tree.map(jnp.add, one, other)


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; the next one is sent to the device before one is used."""
    last = None
    for batch in batches:
        if last is not None:
            yield last
        last = batch
    if last is not None:
        yield last


def streamed(
    train: Batches,
    test: Batches,
    *,
    valid: Batches | None = None,
    mean: Any,
    std: Any,
    devices: Devices,
) -> Streamed:
    """A feed of streams, see `Streamed`."""
    mean, std = (jnp.asarray(value, jnp.float32) for value in (mean, std))
    return Streamed(train, valid, test, mean, std, devices, {})
