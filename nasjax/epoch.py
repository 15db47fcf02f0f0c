"""Many steps in one dispatch: the device side of the search loop.

Nothing returns to the host between the steps of a dispatch: the order of the
examples, their augmentation and every draw follow from the state's key and step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import losses
from nasjax.base import Array, Key
from nasjax.bilevel import Metrics, SearchState
from nasjax.data.augment import Augmentation
from nasjax.data.batches import Batch, DeviceData, epoch_order, num_steps, take
from nasjax.methods.base import Method
from nasjax.supernet import Supernet


class DataKeys(NamedTuple):
    """Keys of the data, one for each use."""

    train_order: Key
    valid_order: Key
    train_augmentation: Key
    valid_augmentation: Key


def data_keys(key: Key) -> DataKeys:
    """Split a key for the data. Consumes the key."""
    return DataKeys(*jax.random.split(key, 4))


def steps_per_epoch(data: DeviceData, batch_size: int) -> int:
    """Steps in which every example of either half is used."""
    largest = max(data.train_ids.shape[0], data.valid_ids.shape[0])
    return num_steps(largest, batch_size)


def make_dispatch(
    step: Callable[[SearchState, Batch, Batch], tuple[SearchState, Metrics]],
    *,
    batch_size: int,
    num_steps: int,
    augmentation: Augmentation | None,
) -> Callable[
    [SearchState, DeviceData, DataKeys, Array | int], tuple[SearchState, Metrics]
]:
    """A function that runs the bilevel step up to a given step of one epoch.

    The number of steps is an argument of the compiled program, so that dispatches
    of any length, the last of an epoch and the first after a resume among them,
    are one compilation.

    Args:
      step: of `bilevel.make_step`.
      batch_size: B of either half.
      num_steps: steps of an epoch.
      augmentation: of both halves; None for none.

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

        def order(key: Key, ids: Array) -> tuple[Array, Array]:
            return epoch_order(
                key, ids, epoch=epoch, batch_size=batch_size, num_steps=num_steps
            )

        train = order(keys.train_order, data.train_ids)
        valid = order(keys.valid_order, data.valid_ids)

        def batch(part: tuple[Array, Array], index: Array, key: Key) -> Batch:
            ids, weights = part[0][index], part[1][index]
            return take(data, ids, weights, key, epoch=epoch, augmentation=augmentation)

        def one(state: SearchState) -> tuple[SearchState, Metrics]:
            index = state.step % num_steps
            return step(
                state,
                batch(train, index, keys.train_augmentation),
                batch(valid, index, keys.valid_augmentation),
            )

        zeros = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(one, state)[1],
        )

        def body(
            carry: tuple[SearchState, Metrics],
        ) -> tuple[SearchState, Metrics]:
            state, metrics = one(carry[0])
            return state, jax.tree.map(jnp.add, carry[1], metrics)

        return lax.while_loop(lambda c: c[0].step < stop, body, (state, zeros))

    return dispatch


def make_evaluate(
    net: Supernet, method: Method, *, batch_size: int
) -> Callable[[SearchState, DeviceData, DataKeys], Metrics]:
    """A function that measures the supernet on the validation half.

    The architecture is the method's own relaxation at the end of the search (for a
    sampled method without noise: the path it would derive, except in the methods
    that keep sampling), images are not augmented, and batch normalisation uses the
    statistics of the batch, as everywhere in a supernet.

    Returns:
      ``(state, data, keys) -> metrics`` with the sums ``valid_loss``,
      ``valid_accuracy`` and ``valid_count``.
    """

    def evaluate(state: SearchState, data: DeviceData, keys: DataKeys) -> Metrics:
        # Shuffled, or a data set sorted by class would be normalised by class.
        ids, weights = epoch_order(
            keys.valid_order, data.valid_ids, epoch=0, batch_size=batch_size
        )
        architecture = method.relax(state.key, state.alpha, jnp.ones(()), net.space)

        def one(total: Metrics, part: tuple[Array, Array]) -> tuple[Metrics, None]:
            batch = take(
                data, *part, keys.valid_augmentation, epoch=0, augmentation=None
            )
            logits = net.apply(state.weights, architecture, batch.images)
            count = batch.weights.sum()
            loss = losses.cross_entropy(logits, batch.labels, batch.weights)
            hits = losses.accuracy_hits(logits, batch.labels)
            sums = {
                "valid_loss": loss * count,
                "valid_accuracy": jnp.vdot(hits, batch.weights),
                "valid_count": count,
            }
            return jax.tree.map(jnp.add, total, sums), None

        names = ("valid_loss", "valid_accuracy", "valid_count")
        zeros = dict.fromkeys(names, jnp.zeros(()))
        return lax.scan(one, zeros, (ids, weights))[0]

    return evaluate
