"""One step of a training, and one measurement, as pure functions of a batch.

Both are written against an axis name where several devices share a batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from nasjax import losses, network
from nasjax.base import Array, Key, Tree
from nasjax.data.batches import Batch
from nasjax.genotype import Genotype
from nasjax.layers import Context
from nasjax.network.settings import make_pass
from nasjax.retrain import recipe as recipes
from nasjax.retrain.recipe import Recipe
from nasjax.runtime.loop import Metrics
from nasjax.runtime.repeat import first_slot

#: From so many classes on, the accuracy among the five largest logits is told too.
_MANY_CLASSES = 100


class Net(NamedTuple):
    """A discrete network and how it is computed; see `network.train_apply`.

    Attributes:
      genotype: of a space of `spaces.SPACES`.
      num_classes: Y.
      image_shape: ``(H, W, channels)``.
      dataset: decides the stem and the auxiliary head, see `network.init`.
      channels: C of the first cells.
      num_cells: L; of a space of stages the cells per stage, N.
      auxiliary: whether there is an auxiliary head.
      dtype: of the activations, "float32" or "bfloat16".
      depthwise: form of the depthwise convolution.
      remat: compute cells again in the backward pass.
      loop: run equal cells as a loop.
      axis_name: of the devices that are normalised as one; None for each its own.
    """

    genotype: Genotype
    num_classes: int
    image_shape: tuple[int, int, int]
    dataset: str = "cifar10"
    channels: int = 36
    num_cells: int = 20
    auxiliary: bool = False
    dtype: str = "float32"
    depthwise: str = "auto"
    remat: bool = False
    loop: bool = True
    axis_name: str | None = None

    @property
    def sizes(self) -> dict[str, Any]:
        """What the functions of `network` ask for beside the genotype."""
        names = ("dataset", "channels", "num_cells", "num_classes")
        return {name: getattr(self, name) for name in names}

    def init(self, key: Key) -> dict[str, Tree]:
        """Variables at the start; consumes the key."""
        return network.init(
            key,
            self.genotype,
            **self.sizes,
            auxiliary=self.auxiliary,
            image_channels=self.image_shape[2],
        )

    def check(self) -> None:
        """Refuse what cannot be built, before anything is traced.

        Raises:
          InputError: settings of no network, or images that the auxiliary head does
            not fit.
        """
        self.cost()
        make_pass(Context(depthwise=self.depthwise), dtype=self.dtype)

    def cost(self) -> network.Cost:
        """Parameters, the auxiliary head's too, and multiply-accumulates."""
        return network.cost(
            self.genotype,
            **self.sizes,
            auxiliary=self.auxiliary,
            image_shape=self.image_shape,
        )


class TrainState(NamedTuple):
    """Everything that a training carries from step to step.

    Attributes:
      step: int32, steps done.
      params: of the network.
      batch_stats: running averages of its batch normalisations.
      optimizer: optax state.
      average: moving average of ``params`` and ``batch_stats`` by these names; empty
        where none is kept.
      key: base key; each step folds its number into it.
    """

    step: Array
    params: Tree
    batch_stats: Tree
    optimizer: optax.OptState
    average: dict[str, Tree]
    key: Key

    @property
    def evaluated(self) -> dict[str, Tree]:
        """Variables of the network that counts: the average, if there is one."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


#: ``(state, batch) -> (state, sums)``.
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
#: ``(state, batch) -> sums``.
Measure = Callable[[TrainState, Batch], Metrics]


def init_state(
    key: Key, net: Net, recipe: Recipe, *, steps_per_epoch: int
) -> TrainState:
    """The state before the first step. Consumes the key."""
    draws, own = jax.random.split(key)
    variables = net.init(draws)
    optimizer = recipes.optimizer(recipe, steps_per_epoch=steps_per_epoch)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer=optimizer.init(variables["params"]),
        average=variables if recipe.ema_decay else {},
        key=own,
    )


def make_step(
    net: Net, recipe: Recipe, *, steps_per_epoch: int, axis_name: str | None = None
) -> Step:
    """A function that trains on one batch.

    Args:
      net: what is trained.
      recipe: how.
      steps_per_epoch: steps of an epoch.
      axis_name: of the devices that share a batch, each with its own slots.

    Returns:
      ``(state, batch) -> (state, metrics)``: sums over the examples of all devices of
      ``loss`` (of the main head, labels smoothed), ``accuracy``, ``auxiliary_loss``
      where there is such a head, and their ``count``.
    """
    optimizer = recipes.optimizer(recipe, steps_per_epoch=steps_per_epoch)
    drop_rate = recipes.drop_path_rate(recipe, steps_per_epoch=steps_per_epoch)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        slots = len(batch.labels)
        first = first_slot(axis_name, slots)
        key = jax.random.fold_in(state.key, state.step)
        # Keys of slots: what is dropped depends neither on the devices nor on the
        # micro-batches.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            key, first + jnp.arange(slots, dtype=jnp.int32)
        )
        total = _sum(batch.weights.sum(), axis_name)
        gradient = _gradient(net, recipe, state.params, drop_rate(state.step), total)
        parts = (batch.images, batch.labels, batch.weights, keys)
        summed, stats, sums = accumulate(
            gradient, state.batch_stats, parts, number=recipe.micro_batches
        )
        summed, sums = _sum((summed, sums), axis_name)
        if axis_name is not None and net.axis_name is None:
            stats = lax.pmean(stats, axis_name)
        updates, moved = optimizer.update(summed, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average:
            now = {"params": params, "batch_stats": stats}
            average = moving_average(average, now, state.step, decay=recipe.ema_decay)
        return TrainState(
            state.step + 1, params, stats, moved, average, state.key
        ), sums

    return step


def _sum(tree: Tree, axis_name: str | None) -> Tree:
    return tree if axis_name is None else lax.psum(tree, axis_name)


def _gradient(
    net: Net, recipe: Recipe, params: Tree, rate: Array, total: Array
) -> Callable[..., tuple[Tree, Tree, Metrics]]:
    """``(batch_stats, images, labels, weights, keys)`` to gradient, stats and sums.

    The gradient is that of a sum over examples divided by ``total``, so that those of
    micro-batches and devices add up to that of the batch.
    """
    drops = recipe.drop_path_rate > 0

    def gradient(
        batch_stats: Tree, images: Array, labels: Array, weights: Array, keys: Key
    ) -> tuple[Tree, Tree, Metrics]:
        def loss(params: Tree) -> tuple[Array, tuple[Tree, Metrics]]:
            output = network.train_apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                net.genotype,
                **net.sizes,
                key=keys if drops else None,
                drop_path_rate=rate if drops else 0.0,
                dtype=net.dtype,
                depthwise=net.depthwise,
                remat=net.remat,
                loop=net.loop,
                axis_name=net.axis_name,
            )

            def summed(logits: Array) -> Array:
                errors = losses.smoothed_cross_entropy_per_example(
                    logits, labels, smoothing=recipe.label_smoothing
                )
                return jnp.vdot(errors, weights)

            objective = summed(output.logits)
            hits = losses.accuracy_hits(output.logits, labels)
            sums = {
                "loss": objective,
                "accuracy": jnp.vdot(hits, weights),
                "count": weights.sum(),
            }
            if output.auxiliary is not None:
                sums["auxiliary_loss"] = summed(output.auxiliary)
                objective += recipe.auxiliary_weight * sums["auxiliary_loss"]
            return objective / total, (output.batch_stats, sums)

        found, (stats, sums) = jax.grad(loss, has_aux=True)(params)
        return found, stats, sums

    return gradient


def accumulate(
    gradient: Callable[..., tuple[Tree, Tree, Metrics]],
    batch_stats: Tree,
    parts: tuple[Array, ...],
    *,
    number: int,
) -> tuple[Tree, Tree, Metrics]:
    """Sum gradients over micro-batches, of which only one is in memory at a time.

    Args:
      gradient: ``(batch_stats, *parts) -> (gradient, batch_stats, sums)``.
      batch_stats: handed on from one micro-batch to the next.
      parts: arrays ``[B, ...]``; micro-batch j has every ``number``-th row from j on,
        so that sharing B out among devices leaves its examples together.
      number: of micro-batches; divides B.

    Returns:
      The sum of the gradients, the last ``batch_stats``, the sum of the sums.
    """
    if number == 1:
        return gradient(batch_stats, *parts)

    def split(array: Array) -> Array:
        return jnp.moveaxis(array.reshape(-1, number, *array.shape[1:]), 1, 0)

    def body(carry: Tree, own: tuple[Array, ...]) -> tuple[Tree, None]:
        stats, total = carry
        found, stats, sums = gradient(stats, *own)
        return (stats, jax.tree.map(jnp.add, total, (found, sums))), None

    micro = jax.tree.map(split, parts)
    one = jax.tree.map(lambda array: array[0], micro)
    found, _, sums = jax.eval_shape(gradient, batch_stats, *one)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (found, sums))
    (stats, (found, sums)), _ = lax.scan(body, (batch_stats, zeros), micro)
    return found, stats, sums


def moving_average(average: Tree, new: Tree, step: Array, *, decay: float) -> Tree:
    """The exponential moving average after a step.

    Args:
      average: before.
      new: what it follows.
      step: steps done before this one.
      decay: share of the average that stays, see `Recipe.ema_decay`.
    """
    done = step.astype(jnp.float32)
    kept = jnp.minimum(decay, (1.0 + done) / (10.0 + done))
    return jax.tree.map(lambda old, now: old + (1.0 - kept) * (now - old), average, new)


def make_measure(net: Net, *, axis_name: str | None = None) -> Measure:
    """A function that evaluates a batch by the running averages.

    Returns:
      ``(state, batch) -> sums`` over the examples of all devices: ``loss`` (labels
      not smoothed), ``accuracy``, ``top5_accuracy`` from a hundred classes on, and
      ``count``. Where the state has a moving average, these are its own and those of
      the last weights are there as ``last_loss`` and so on.
    """

    def measure(state: TrainState, batch: Batch) -> Metrics:
        last = {"params": state.params, "batch_stats": state.batch_stats}
        sums = {"count": batch.weights.sum()}
        for prefix, variables in (("", state.evaluated), ("last_", last)):
            if prefix and not state.average:
                continue
            logits = network.apply(
                variables,
                batch.images,
                net.genotype,
                **net.sizes,
                dtype=net.dtype,
                depthwise=net.depthwise,
            )
            for name, values in _measures(logits, batch.labels).items():
                sums[prefix + name] = jnp.vdot(values, batch.weights)
        return _sum(sums, axis_name)

    return measure


def _measures(logits: Array, labels: Array) -> dict[str, Array]:
    """What is told of each example, ``[B]``."""
    found = {
        "loss": losses.cross_entropy_per_example(logits, labels),
        "accuracy": losses.accuracy_hits(logits, labels),
    }
    if logits.shape[1] >= _MANY_CLASSES:
        _, five = lax.top_k(logits, 5)
        hits = (five == labels[:, None]).any(axis=1)
        found["top5_accuracy"] = hits.astype(jnp.float32)
    return found
