"""Many steps in one dispatch: the device side of the search loop.

Nothing returns to the host between the steps of a dispatch: the order of the
examples, their augmentation and every draw follow from the state's key and step.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import losses
from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Key, Tree
from nasjax.bilevel import SearchState
from nasjax.data.augment import Augmentation
from nasjax.data.batches import Batch, DeviceData, Split, epoch_order, take
from nasjax.methods.base import Alpha, Method
from nasjax.objective import Metrics
from nasjax.runtime.repeat import Repeat, first_slot, run_until
from nasjax.supernet import Architecture, Supernet


class DataKeys(NamedTuple):
    """Keys of the data, one for each use."""

    train_order: Key
    valid_order: Key
    train_augmentation: Key
    valid_augmentation: Key


def data_keys(key: Key) -> DataKeys:
    """Split a key for the data. Consumes the key."""
    return DataKeys(*jax.random.split(key, 4))


def steps_per_epoch(data: DeviceData) -> int:
    """Steps in which every example of either half is used."""
    return max(data.train.weights.shape[0], data.valid.weights.shape[0])


def make_dispatch(
    step: Callable[[SearchState, Batch, Batch], tuple[SearchState, Metrics]],
    *,
    num_steps: int,
    augmentation: Augmentation | None,
    axis_name: str | None = None,
    repeat: Repeat = run_until,
) -> Callable[
    [SearchState, DeviceData, DataKeys, Array | int], tuple[SearchState, Metrics]
]:
    """A function that runs the bilevel step up to a given step of one epoch.

    The number of steps is an argument of the compiled program, so that dispatches
    of any length, the last of an epoch and the first after a resume among them,
    are one compilation. Where a loss, a weight or alpha stops being a number the
    dispatch ends by itself, after that step, and one that begins there does nothing.

    Args:
      step: of `bilevel.make_step`.
      num_steps: steps of an epoch.
      augmentation: of both halves; None for none.
      axis_name: of the devices that share the batches, each with its own slots.
      repeat: what repeats the step.

    Returns:
      ``(state, data, keys, stop) -> (state, metrics)``: steps until
      ``state.step == stop``, which must lie in the same epoch; the metrics are
      summed. To be jitted with the state donated.
    """
    # Jitted so that asking for its shapes below does not trace it a second time.
    step = jax.jit(step)

    def dispatch(
        state: SearchState, data: DeviceData, keys: DataKeys, stop: Array | int
    ) -> tuple[SearchState, Metrics]:
        epoch = state.step // num_steps

        def order(key: Key, half: Split) -> Array:
            return epoch_order(
                key,
                half.weights,
                epoch=epoch,
                num_steps=num_steps,
                first_slot=first_slot(axis_name, half.weights.shape[1]),
            )

        train = order(keys.train_order, data.train)
        valid = order(keys.valid_order, data.valid)
        get = partial(take, data, epoch=epoch, augmentation=augmentation)

        def one(state: SearchState) -> tuple[SearchState, Metrics]:
            index = state.step % num_steps
            return step(
                state,
                get(data.train, train[index], keys.train_augmentation),
                get(data.valid, valid[index], keys.valid_augmentation),
            )

        return repeat(
            stop, one, state, sound=lambda state: (state.weights, state.alpha)
        )

    return dispatch


def final_architecture(
    net: Supernet, method: Method, state: SearchState
) -> Architecture:
    """What a supernet is judged by, during and after a search (`Method.settled`).

    The mixture, or of a method that samples its most probable path: no key moves it.
    """
    return method.settled(state.alpha, net.space)


def valid_order(data: DeviceData, keys: DataKeys, *, axis_name: str | None) -> Array:
    """``[T, B]``, the order of the validation half for measurements, always the same.

    Shuffled, or a data set sorted by class would be normalised by class.
    """
    slot = first_slot(axis_name, data.valid.weights.shape[1])
    return epoch_order(keys.valid_order, data.valid.weights, epoch=0, first_slot=slot)


def take_valid(data: DeviceData, keys: DataKeys, order: Array) -> Batch:
    """A batch of the validation half, not augmented; ``order`` ``[B]``."""
    return take(
        data, data.valid, order, keys.valid_augmentation, epoch=0, augmentation=None
    )


def evaluate(
    net: Supernet,
    weights: Tree,
    architecture: Architecture,
    data: DeviceData,
    keys: DataKeys,
    *,
    batches: int | None = None,
) -> Metrics:
    """Loss and accuracy of one architecture of the supernet on the validation half.

    Images are not augmented, and batch normalisation uses the statistics of the
    batch, as everywhere in a supernet.

    Args:
      net: the supernet.
      weights: its weights.
      architecture: what to run.
      data: the data set.
      keys: of the data.
      batches: how many; None for all.

    Returns:
      The sums ``valid_loss``, ``valid_accuracy`` and ``valid_count``.
    """
    axis = net.settings.context.axis_name
    order = valid_order(data, keys, axis_name=axis)[:batches]

    def one(total: Metrics, order: Array) -> tuple[Metrics, None]:
        batch = take_valid(data, keys, order)
        logits = net.apply(weights, architecture, batch.images)
        errors = losses.cross_entropy_per_example(logits, batch.labels)
        hits = losses.accuracy_hits(logits, batch.labels)
        sums = {
            "valid_loss": jnp.vdot(errors, batch.weights),
            "valid_accuracy": jnp.vdot(hits, batch.weights),
            "valid_count": batch.weights.sum(),
        }
        return jax.tree.map(jnp.add, total, sums), None

    names = ("valid_loss", "valid_accuracy", "valid_count")
    total, _ = lax.scan(one, dict.fromkeys(names, jnp.zeros(())), order)
    return total if axis is None else lax.psum(total, axis)


def make_evaluate(
    net: Supernet, method: Method
) -> Callable[[SearchState, DeviceData, DataKeys], Metrics]:
    """A function that measures `final_architecture` on the validation half.

    Returns:
      ``(state, data, keys) -> metrics``, see `evaluate`.
    """

    def run(state: SearchState, data: DeviceData, keys: DataKeys) -> Metrics:
        architecture = final_architecture(net, method, state)
        return evaluate(net, state.weights, architecture, data, keys)

    return run


def stop_at(step: int) -> Array:
    """The argument of a dispatch that says where it ends."""
    return jnp.asarray(step, jnp.int32)


def make_choose(
    net: Supernet, method: Method
) -> Callable[[SearchState, DeviceData, DataKeys], Alpha]:
    """A function that draws architectures and keeps the best on the validation half.

    Each of `Method.candidates` is measured on a few batches, the best of them on the
    whole half. Source: Li and Talwalkar, arXiv 1902.07638, section 3.

    Returns:
      ``(state, data, keys) -> alpha``, 1 at the chosen operations and 0 elsewhere.
    """
    candidates = method.candidates
    assert candidates is not None

    def choose(state: SearchState, data: DeviceData, keys: DataKeys) -> Alpha:
        blank = jax.tree.map(jnp.zeros_like, state.alpha)

        def draw(key: Key) -> Architecture:
            return method.relax(key, blank, jnp.ones(()), net.space)

        def accuracy(key: Key, batches: int | None) -> Array:
            sums = evaluate(net, state.weights, draw(key), data, keys, batches=batches)
            return sums["valid_accuracy"] / sums["valid_count"]

        drawn = jax.random.split(
            jax.random.fold_in(state.key, state.step), candidates.number
        )
        few = lax.map(lambda key: accuracy(key, candidates.batches), drawn)
        finalists = drawn[lax.top_k(few, candidates.finalists)[1]]
        best = jnp.argmax(lax.map(lambda key: accuracy(key, None), finalists))
        return {
            name: _ones(path, net.space.num_ops)
            for name, path in draw(finalists[best]).items()
        }

    return choose


def _ones(path: Mixture | Path, num_ops: int) -> Array:
    """``[E, O]``, 1 where an active edge's operation stands."""
    assert isinstance(path, Path)
    chosen = jax.nn.one_hot(path.operation, num_ops)
    return jnp.where(path.active[:, None], chosen, 0.0)
