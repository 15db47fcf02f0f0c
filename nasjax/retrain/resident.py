"""A feed of a data set that lives on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, Key
from nasjax.data.augment import Augmentation, channel_statistics
from nasjax.data.batches import (
    Split,
    check_same,
    epoch_order,
    hold_out,
    lay_out,
    take,
)
from nasjax.data.dataset import Dataset
from nasjax.retrain.feeds import Dispatch, Evaluate
from nasjax.retrain.step import Measure, Step, TrainState
from nasjax.runtime import budget as budgets
from nasjax.runtime.fingerprints import of_arrays, some_rows
from nasjax.runtime.loop import Metrics
from nasjax.runtime.parallel import Devices
from nasjax.runtime.repeat import first_slot, run_until


class Part(NamedTuple):
    """Examples on the device, and what normalises them."""

    half: Split
    mean: Array  # [Ch] float32, of the training examples
    std: Array  # [Ch] float32


class Keys(NamedTuple):
    """Keys of the order and the augmentation of the training examples."""

    order: Key
    augmentation: Key


class Resident(NamedTuple):
    """A data set that lives on the device; made by `resident`.

    Attributes:
      train: the training examples, laid out for `devices`.
      valid: those held out, likewise; None where there are none.
      test: the test split, on the host.
      keys: of the training examples.
      augmentation: of the training examples; None for none.
      devices: that share a batch.
      steps_per_epoch: batches that hold every training example once.
      mean: ``[Ch]`` of the training examples in units of [0, 1], on the host.
      std: likewise.
      identity: what decides the examples and their order.
    """

    train: Part
    valid: Part | None
    test: Dataset
    keys: Keys
    augmentation: Augmentation | None
    devices: Devices
    steps_per_epoch: int
    mean: np.ndarray
    std: np.ndarray
    identity: dict[str, Any]

    @property
    def has_valid(self) -> bool:
        """Whether examples are held out."""
        return self.valid is not None

    @property
    def num_bytes(self) -> int:
        """Of the training examples on the devices."""
        return budgets.tree_bytes(self.train)

    def dispatch(self, step: Step, state: TrainState) -> tuple[Dispatch, Any]:
        """Compile the training (`Feed.dispatch`)."""
        steps, axis = self.steps_per_epoch, self.devices.axis_name

        def train_steps(
            state: TrainState, part: Part, keys: Keys, stop: Array
        ) -> tuple[TrainState, Metrics]:
            epoch, half = state.step // steps, part.half
            slot = first_slot(axis, half.weights.shape[1])
            order = epoch_order(keys.order, half.weights, epoch=epoch, first_slot=slot)

            def one(state: TrainState) -> tuple[TrainState, Metrics]:
                batch = take(
                    part,
                    half,
                    order[state.step % steps],
                    keys.augmentation,
                    epoch=epoch,
                    augmentation=self.augmentation,
                )
                return step(state, batch)

            return run_until(
                stop, one, state, sound=lambda state: (state.params, state.batch_stats)
            )

        compiled = (
            self.devices.jit(train_steps, others=2, updates=True)
            .lower(state, self.train, self.keys, jnp.int32(1))
            .compile()
        )

        def dispatch(
            state: TrainState, first: int, until: int
        ) -> tuple[TrainState, Metrics]:
            del first
            return compiled(state, self.train, self.keys, jnp.int32(until))

        return dispatch, compiled

    def close(self) -> None:
        """Nothing is open."""

    def evaluate(self, measure: Measure) -> Evaluate:
        """The evaluation of a split (`Feed.evaluate`)."""
        run = self.devices.jit(_over_all(measure, self.keys.augmentation), others=0)

        def evaluate(state: TrainState, split: str) -> Metrics:
            if split != "test":
                assert self.valid is not None
                return run(state, self.valid)
            ids = np.arange(len(self.test.labels), dtype=np.int32)
            half = lay_out(
                self.test.images,
                self.test.labels,
                ids,
                batch_size=self.devices.batch_size,
            )
            part = Part(self.devices.spread_data(half), self.train.mean, self.train.std)
            return run(state, part)

        return evaluate


def _over_all(measure: Measure, key: Key) -> Callable[[TrainState, Part], Metrics]:
    """Sums of a measure over all batches of a part, which are not augmented."""

    def run(state: TrainState, part: Part) -> Metrics:
        half = part.half

        def one(index: Array) -> Metrics:
            row = jnp.broadcast_to(index, half.labels.shape[1:])
            batch = take(part, half, row, key, epoch=0, augmentation=None)
            return measure(state, batch)

        sums = jax.lax.map(one, jnp.arange(half.labels.shape[0], dtype=jnp.int32))
        return jax.tree.map(lambda values: values.sum(axis=0), sums)

    return run


def resident(
    train: Dataset,
    test: Dataset,
    *,
    devices: Devices,
    valid: Dataset | None = None,
    valid_fraction: float = 0.1,
    seed: int = 0,
    augmentation: Augmentation | None = None,
) -> Resident:
    """Put a data set on the devices, some of its training examples held out.

    Args:
      train: the training split, normalised by the statistics of what is trained on.
      test: the test split; stays on the host until it is evaluated.
      devices: that share a batch.
      valid: what is held out, where the data set has a split for it.
      valid_fraction: share of the training split that is held out where it has none;
        0 for none.
      seed: of what is held out, of the order and of the augmentation.
      augmentation: of the training examples; None for none.

    Raises:
      InputError: a fraction that leaves a part empty, or a test split of other images
        or classes.
    """
    check_same(train, test, "the test split")
    if valid is not None:
        check_same(train, valid, "the valid split")
    every = np.arange(len(train.labels), dtype=np.int32)
    ids, held_out = every, every[:0]
    if valid is None and valid_fraction:
        ids, held_out = hold_out(seed, len(every), valid_fraction=valid_fraction)
    mean, std = channel_statistics(train.images[ids])

    def part(split: Dataset, ids: np.ndarray) -> Part:
        size = devices.batch_size
        half = lay_out(split.images, split.labels, ids, batch_size=size)
        return devices.spread_data(Part(half, jnp.asarray(mean), jnp.asarray(std)))

    apart = part(train, held_out) if len(held_out) else None
    if valid is not None:
        apart = part(valid, np.arange(len(valid.labels), dtype=np.int32))

    root = jax.random.fold_in(jax.random.key(seed), 1)
    return Resident(
        train=part(train, ids),
        valid=apart,
        test=test,
        keys=Keys(*jax.random.split(root)),
        augmentation=augmentation,
        devices=devices,
        steps_per_epoch=-(-len(ids) // devices.batch_size),
        mean=mean,
        std=std,
        identity={
            "train": len(ids),
            "valid": len(held_out if valid is None else valid.labels),
            "order_seed": seed,
            "augmentation": augmentation and augmentation._asdict(),
            "fingerprint": of_arrays(
                array
                for one in (train, test, *([] if valid is None else [valid]))
                for array in (one.labels, some_rows(one.images))
            ),
        },
    )
