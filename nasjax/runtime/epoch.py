"""Many steps in one dispatch: the device side of the search loop.

Nothing returns to the host between the steps of a dispatch: the order of the
examples, their augmentation and every draw follow from the state's key and step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import losses
from nasjax.base import Array, Key, Tree
from nasjax.bilevel import SearchState
from nasjax.data.augment import Augmentation
from nasjax.data.batches import Batch, DeviceData, Split, epoch_order, take
from nasjax.methods.base import Method
from nasjax.objective import Metrics
from nasjax.runtime.finite import STEPS, all_finite
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


def first_slot(axis_name: str | None, width: int) -> Array | int:
    """The first of a device's ``width`` slots of the batch that all devices share."""
    return 0 if axis_name is None else lax.axis_index(axis_name) * width


class Repeat(Protocol):
    """`run_until`, or what repeats a step otherwise."""

    def __call__(
        self,
        stop: Array | int,
        one: Callable[[Any], tuple[Any, Metrics]],
        state: Any,
        *,
        sound: Callable[[Any], Tree],
    ) -> tuple[Any, Metrics]:
        """The last state, and the sums of the metrics with the ``steps`` done."""


def run_until(
    stop: Array | int,
    one: Callable[[Any], tuple[Any, Metrics]],
    state: Any,
    *,
    sound: Callable[[Any], Tree],
) -> tuple[Any, Metrics]:
    """Repeat ``one(state) -> (state, metrics)`` until ``state.step == stop``.

    Ends by itself after a step whose metrics, or whose part of the state that ``sound``
    names, are not all numbers, and does nothing from such a state.

    Returns:
      The last state, and the sums of the metrics with the number of ``steps`` done.
    """
    first = state.step

    def goes_on(carry: tuple[Any, Metrics]) -> Array:
        state, metrics = carry
        return (state.step < stop) & all_finite((sound(state), metrics))

    def body(carry: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
        state, metrics = one(carry[0])
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    state, metrics = lax.while_loop(goes_on, body, (state, no_metrics(one, state)))
    return state, metrics | {STEPS: state.step - first}


def no_metrics(one: Callable[[Any], tuple[Any, Metrics]], state: Any) -> Metrics:
    """Zeros for the sums of what ``one`` measures."""
    return jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, state)[1]
    )


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
