"""The measures of this package in the course of a search.

An `Analysis` is a name, how often, and a function of the search and its state to
values. `nasjax.search.run` takes any number of them, logs the values under the phase
``analysis``, and never asks what they are:

    search.run(task, folder, analyses=[probes.eigenvalue(every=5)], progress=...)

Each compiles its program when it is first due, so that what is not asked for costs
nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import losses
from nasjax.analysis.agreement import teacher_agreement
from nasjax.analysis.alpha import edge_entropy, edge_margins
from nasjax.analysis.curvature import dominant_eigenvalue_of, hessian_vector_product
from nasjax.analysis.discretization import derived_architecture, discretization_gap
from nasjax.analysis.ranking import kendall_tau
from nasjax.analysis.sharpness import ValueAndGradient, ball_sharpness, loss_drop
from nasjax.base import Array, Tree
from nasjax.bilevel import SearchState, summarise
from nasjax.data.batches import Batch, DeviceData, Split
from nasjax.genotype import Genotype, derive
from nasjax.search import epoch as epochs_lib
from nasjax.search.epoch import DataKeys
from nasjax.search.program import Search
from nasjax.search.running import Analysis
from nasjax.supernet import Architecture
from nasjax.teachers import Ring


def decidedness(*, every: int = 1) -> Analysis:
    """Entropy and margin of the strengths that a genotype is derived by.

    Logs the means over edges, ``entropy/CELL`` (nats) and ``margin/CELL``.
    """

    def measure(search: Search, state: SearchState) -> dict[str, float]:
        alpha = search.devices.gather_state(state.alpha)
        values = {}
        for name, found in search.method.strengths(alpha, search.net.space).items():
            values[f"entropy/{name}"] = float(edge_entropy(found).mean())
            values[f"margin/{name}"] = float(edge_margins(found).mean())
        return values

    return Analysis(every, measure)


def eigenvalue(*, every: int = 1, batches: int = 4) -> Analysis:
    """`dominant_eigenvalue` of the validation loss in alpha.

    Of what the method is judged by (`epoch.final_architecture`), without its own added
    terms, on images that are not augmented. For a mixture that is the loss of Zela et
    al. For a method that samples it is the loss of its most probable path as a function
    of the path's own weights: of edge e the weight is 1 + s_e(alpha) - s_e(alpha_0),
    where s is the strength of the operation that is run and alpha_0 where the search
    stands, so that alpha changes how much an edge counts, never which operation it
    runs. STC-NAS has ReLU(alpha) itself for a weight; for SNAS all operations of an
    edge have weights of this form, around the one-hot. These are other functions than a
    mixture's: compare methods of one kind.

    Logs ``eigenvalue`` and ``eigenvalue_residual``.

    Args:
      every: epochs between two.
      batches: of the validation half, the same each time.
    """
    compiled = _kept(
        lambda search: search.devices.jit(_make_product(search, batches), others=2)
    )

    def measure(search: Search, state: SearchState) -> dict[str, float]:
        run = compiled(search)
        alpha, key = search.devices.gather_state((state.alpha, state.key))
        value, residual = dominant_eigenvalue_of(
            lambda vector: run(state, search.data, search.keys, vector),
            alpha,
            key=key,
        )
        return {"eigenvalue": value, "eigenvalue_residual": residual}

    return Analysis(every, measure)


def sharpness(
    *,
    every: int = 1,
    radius: float = 0.05,
    batches: int = 4,
    steps: int = 1,
    learning_rate: float = 0.025,
) -> Analysis:
    """`ball_sharpness` and `loss_drop` of the loss of `eigenvalue`.

    In alpha with the weights held, and in the weights with alpha held. The step is that
    of Eq. 4, plain gradient descent on the validation loss, not the search's own, and
    its rate stays (an assumption): the curve shows the loss and not the schedule.

    Logs ``sharpness/alpha``, ``sharpness/weights``, ``loss_drop/alpha`` and
    ``loss_drop/weights``.

    Args:
      every: epochs between two.
      radius: of the ball; SAM's on CIFAR-10, for alpha too (an assumption).
      batches: of the validation half, the same each time.
      steps: of ascent in the ball.
      learning_rate: of the step; DARTS's first, for alpha too (an assumption).
    """
    compiled = _kept(lambda search: search.devices.jit(_make_gradient(search, batches)))

    def measure(search: Search, state: SearchState) -> dict[str, float]:
        run, devices = compiled(search), search.devices
        point = devices.gather_state({"alpha": state.alpha, "weights": state.weights})

        def along(name: str) -> ValueAndGradient:
            def moved(part: Tree) -> tuple[Array, Tree]:
                there = state._replace(**devices.shard_state({name: part}))
                found = run(there, search.data, search.keys)
                value, gradients = jax.device_get(found)  # off all devices
                return value, gradients[name]

            return moved

        found = {}
        for name, centre in point.items():
            rise = ball_sharpness(along(name), centre, radius=radius, steps=steps)
            drop = loss_drop(along(name), centre, learning_rate=learning_rate)
            found[f"sharpness/{name}"] = float(rise)
            found[f"loss_drop/{name}"] = float(drop)
        return found

    return Analysis(every, measure)


def discretization(*, every: int = 1) -> Analysis:
    """`discretization_gap` on the whole validation half.

    Logs ``discretization/before``, ``/after`` and ``/gap``, accuracies from 0 to 1.
    """
    accuracy = _accuracy(None)

    def measure(search: Search, state: SearchState) -> dict[str, float]:
        space, alpha = search.net.space, search.devices.gather_state(state.alpha)
        genotype = search.method.derive(space, jax.device_get(alpha))
        before = summarise(search.evaluate(state, search.data, search.keys))
        found = discretization_gap(
            before["valid_accuracy"],
            accuracy(search, state, derived_architecture(space, genotype)),
        )
        return {f"discretization/{name}": v for name, v in found._asdict().items()}

    return Analysis(every, measure)


def draws(*, every: int = 1, number: int = 10, seed: int = 0) -> Analysis:
    """Mean accuracy of architectures drawn as the search draws them at this point.

    Beside that of the most probable one, by which a method is judged. Of a method
    without chance all draws are one. On the whole validation half, nothing dropped; the
    keys are the same each time. Logs ``draws/accuracy`` (the mean, from 0 to 1) and
    ``draws/sd`` (of the sample; 0 for one draw).

    Args:
      every: epochs between two.
      number: of draws.
      seed: of their keys.
    """
    accuracy = _accuracy(None)
    drawer = _kept(
        lambda search: jax.jit(
            lambda key, alpha, progress: search.method.draw(
                key, alpha, progress, search.net.space
            )
        )
    )

    def measure(search: Search, state: SearchState) -> dict[str, float]:
        alpha, step = search.devices.gather_state((state.alpha, state.step))
        progress = jnp.float32(int(step) / (search.steps_per_epoch * search.epochs))
        found = [
            accuracy(search, state, drawer(search)(key, alpha, progress))
            for key in jax.random.split(jax.random.key(seed), number)
        ]
        sd = float(np.std(found, ddof=1)) if number > 1 else 0.0
        return {"draws/accuracy": float(np.mean(found)), "draws/sd": sd}

    return Analysis(every, measure)


def teachers(*, every: int = 1) -> Analysis:
    """`teacher_agreement` of voting teachers; nothing for a method without them.

    Logs ``teachers/coverage``, ``/agreement``, ``/accuracy`` and ``/divergence``, once
    teachers have something to say.
    """

    def measure(search: Search, state: SearchState) -> dict[str, float]:
        memory = search.devices.gather_state(state).memory
        if not isinstance(memory, Ring):
            return {}
        done = int(search.devices.gather_state(state.step)) // search.steps_per_epoch
        rows = _rows(search, search.data.train)
        found = teacher_agreement(memory, rows.labels, epoch=done, weights=rows.weights)
        values = {f"teachers/{name}": float(v) for name, v in found._asdict().items()}
        return values if values["teachers/coverage"] else {}

    return Analysis(every, measure)


def ranking(
    truth: Callable[[Genotype], float],
    *,
    every: int = 1,
    architectures: int = 50,
    batches: int | None = None,
    seed: int = 0,
) -> Analysis:
    """`kendall_tau` between the supernet's accuracies and those of training alone.

    Architectures are drawn at random (of normal noise as alpha), the same each time,
    and are run as paths of weight 1, also where the method trains a mixture: tau says
    what the shared weights know of single architectures, not how well the mixture does.
    Logs ``ranking/kendall_tau`` and ``ranking/p_value``.

    Args:
      truth: accuracy of a genotype trained alone, such as `NASBench201.query`.
      every: epochs between two.
      architectures: how many. The standard error of tau, were there no association, is
        0.10 of 50 and 0.07 of 100, which take twice the time.
      batches: of the validation half on which each is measured; None for all. Few
        images blur the ranks: of 320 an accuracy has an error of up to 2.8 points.
      seed: of the draw.
    """
    accuracy = _accuracy(batches)

    def measure(search: Search, state: SearchState) -> dict[str, float]:
        space, random = search.net.space, np.random.default_rng(seed)
        shape = space.num_edges, space.num_ops
        drawn = [
            derive(
                space, {name: random.normal(size=shape) for name in space.cell_types}
            )
            for _ in range(architectures)
        ]
        found = [
            accuracy(search, state, derived_architecture(space, one)) for one in drawn
        ]
        tau, p_value = kendall_tau(found, [truth(one) for one in drawn])
        values = {"ranking/kendall_tau": tau, "ranking/p_value": p_value}
        return {name: value for name, value in values.items() if np.isfinite(value)}

    return Analysis(every, measure)


def _kept(make: Callable[[Search], Any]) -> Callable[[Search], Any]:
    """What ``make`` makes of a search, made once for the search at hand."""
    kept: list[Any] = []

    def get(search: Search) -> Any:
        if not kept or kept[0] is not search:
            kept[:] = [search, make(search)]
        return kept[1]

    return get


def _make_product(
    search: Search, batches: int
) -> Callable[[SearchState, DeviceData, DataKeys, Tree], Tree]:
    """``(state, data, keys, vector) -> H vector``, batch after batch."""

    def one(state: SearchState, batch: Batch, vector: Tree) -> Tree:
        loss = _loss(search, state, batch)
        return hessian_vector_product(
            lambda alpha: loss(alpha, state.weights),
            state.alpha,
            vector,
            axis_name=search.net.settings.context.axis_name,
        )

    return _mean_over_batches(search, batches, one)


def _make_gradient(
    search: Search, batches: int
) -> Callable[[SearchState, DeviceData, DataKeys], tuple[Array, dict[str, Tree]]]:
    """``(state, data, keys) -> (loss, {"alpha": gradient, "weights": gradient})``."""
    axis = search.net.settings.context.axis_name

    def one(state: SearchState, batch: Batch) -> tuple[Array, dict[str, Tree]]:
        loss = jax.value_and_grad(_loss(search, state, batch), argnums=(0, 1))
        value, (alpha, weights) = loss(state.alpha, state.weights)
        gradients = {"alpha": alpha, "weights": weights}
        return value, gradients if axis is None else jax.lax.pmean(gradients, axis)

    return _mean_over_batches(search, batches, one)


def _loss(
    search: Search, state: SearchState, batch: Batch
) -> Callable[[Tree, Tree], Array]:
    """``(alpha, weights) -> scalar`` of a batch, without the method's own terms."""
    net, method = search.net, search.method
    axis = net.settings.context.axis_name

    def loss(alpha: Tree, weights: Tree) -> Array:
        runs = epochs_lib.final_architecture(net, method, state._replace(alpha=alpha))
        logits = net.apply(weights, runs, batch.images)
        errors = losses.cross_entropy_per_example(logits, batch.labels)
        return losses.weighted_mean(errors, batch.weights, axis_name=axis)

    return loss


def _mean_over_batches(
    search: Search, batches: int, one: Callable[..., Any]
) -> Callable[..., Any]:
    """``(state, data, keys, *rest) -> mean`` of ``one(state, batch, *rest)``."""
    axis = search.net.settings.context.axis_name

    def run(state: SearchState, data: DeviceData, keys: DataKeys, *rest: Tree) -> Any:
        def counted(order: Array) -> tuple[Any, Array]:
            batch = epochs_lib.take_valid(data, keys, order)
            count = batch.weights.sum()
            count = count if axis is None else jax.lax.psum(count, axis)
            found = one(state, batch, *rest)
            return jax.tree.map(lambda leaf: count * leaf, found), count

        def add(total: Tree, order: Array) -> tuple[Tree, None]:
            return jax.tree.map(jnp.add, total, counted(order)), None

        order = epochs_lib.valid_order(data, keys, axis_name=axis)[:batches]
        shapes = jax.eval_shape(counted, order[0])
        start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (total, count), _ = jax.lax.scan(add, start, order)
        return jax.tree.map(lambda leaf: leaf / count, total)

    return run


def _accuracy(
    batches: int | None,
) -> Callable[[Search, SearchState, Architecture], float]:
    """Accuracy of an architecture with a state's weights, one program for all."""

    def make(search: Search) -> Any:
        def run(
            state: SearchState,
            data: DeviceData,
            keys: DataKeys,
            architecture: Architecture,
        ) -> dict[str, Array]:
            return epochs_lib.evaluate(
                search.net, state.weights, architecture, data, keys, batches=batches
            )

        return search.devices.jit(run, others=2)

    compiled = _kept(make)

    def accuracy(
        search: Search, state: SearchState, architecture: Architecture
    ) -> float:
        sums = compiled(search)(state, search.data, search.keys, architecture)
        return summarise(sums)["valid_accuracy"]

    return accuracy


def _rows(search: Search, half: Split) -> Split:
    """Labels and weights as a memory has its examples: row after row of slots."""

    def flat(array: Array) -> Array:
        return search.devices.gather_slots(array).reshape(-1)

    return half._replace(labels=flat(half.labels), weights=flat(half.weights))
