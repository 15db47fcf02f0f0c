"""The measures of this package in the course of a search.

An `Analysis` is a name, how often, and a function of the search and its state to
values. `nasjax.search.run` takes any number of them, logs the values under the phase
``analysis``, and never asks what they are:

    search.run(task, folder, analyses=[probes.eigenvalue(every=5)], progress=...)

Each compiles its program when it is first due, so that what is not asked for costs
nothing.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.analysis.agreement import teacher_agreement
from nasjax.analysis.alpha import edge_entropy, edge_margins
from nasjax.analysis.curvature import dominant_eigenvalue_of
from nasjax.analysis.discretization import derived_architecture, discretization_gap
from nasjax.analysis.programs import (
    kept,
    make_accuracy,
    make_gradient,
    make_product,
    rows_of,
)
from nasjax.analysis.ranking import kendall_tau
from nasjax.analysis.sharpness import ValueAndGradient, ball_sharpness, loss_drop
from nasjax.base import Array, Tree
from nasjax.bilevel import SearchState, summarise
from nasjax.genotype import Genotype
from nasjax.search.program import Search
from nasjax.search.running import Analysis
from nasjax.spaces import derive
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
    compiled = kept(
        lambda search: search.devices.jit(make_product(search, batches), others=2)
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
    compiled = kept(lambda search: search.devices.jit(make_gradient(search, batches)))

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
    accuracy = make_accuracy(None)

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
    accuracy = make_accuracy(None)
    drawer = kept(
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
        rows = rows_of(search, search.data.train)
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
    accuracy = make_accuracy(batches)

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


# --- one record per measure -------------------------------------------------------


class Probe(NamedTuple):
    """A measure as configurations and reports know it.

    Attributes:
      make: the function above; its keyword arguments are the configuration's fields
        (``every`` under the measure's name, the others with the name before them).
      charts: what it logs, names with one beginning in one chart:
        ``{beginning: (title, note)}``.
      least: by argument, the lowest value; 0 where none is given.
      every: of configurations; 0 for a measure that has to be asked for.
      sizes: by argument, the default of configurations where it is another than that
        of the function; 0 stands for None.
      asks: whether ``make`` takes first the accuracy that a table has of a genotype.
    """

    make: Callable[..., Analysis]
    charts: Mapping[str, tuple[str, str]] = {}
    least: Mapping[str, float] = {}
    every: int = 0
    sizes: Mapping[str, float] = {}
    asks: bool = False

    @property
    def name(self) -> str:
        """Of the measure."""
        return self.make.__name__

    @property
    def fields(self) -> dict[str, float]:
        """The configuration's fields with their defaults: ``every`` first."""
        arguments = inspect.signature(self.make).parameters.values()
        others = {
            one.name: self.sizes.get(one.name, one.default)
            for one in arguments
            if one.kind is one.KEYWORD_ONLY and one.name not in ("every", "seed")
        }
        return {self.name: self.every} | {
            f"{self.name}_{name}": default for name, default in others.items()
        }

    def of(self, block: Mapping[str, Any], *first: Any) -> Analysis:
        """The measure with the fields of a configuration's block."""
        given = {
            name.removeprefix(f"{self.name}_"): block[name] for name in self.fields
        }
        given["every"] = given.pop(self.name)
        optional = [name for name, size in self.sizes.items() if not size]
        nothing = {name: None for name in optional if not given[name]}
        return self.make(*first, **given | nothing)


#: All measures, in the order in which a report shows them.
PROBES = (
    Probe(
        eigenvalue,
        {
            "eigenvalue": (
                "Dominant eigenvalue of the Hessian in alpha",
                "Of the validation loss. A fast rise goes before a collapse, and "
                "before a large loss on discretization.",
            )
        },
        least={"batches": 1},
    ),
    Probe(
        sharpness,
        {
            "sharpness/": (
                "Sharpness in a ball",
                "Rise of the validation loss that ascent finds around alpha, and "
                "around the weights.",
            ),
            "loss_drop/": (
                "Drop of the loss in a step",
                "Of gradient descent on the validation loss, in alpha or in the "
                "weights.",
            ),
        },
        least={"batches": 1, "radius": 1e-6, "steps": 1},
    ),
    Probe(
        discretization,
        {
            "discretization/": (
                "Supernet accuracy before and after derivation",
                "With the same weights, nothing trained in between.",
            )
        },
    ),
    Probe(draws, least={"number": 1}),
    Probe(
        decidedness,
        {
            "entropy/": (
                "Entropy of the operations' weights",
                "Nats, mean over edges: 0 where every edge has decided.",
            ),
            "margin/": (
                "First minus second weight",
                "Mean over edges: how surely the kept operation is kept.",
            ),
        },
        every=1,
    ),
    Probe(
        teachers,
        {
            "teachers/": (
                "Voting teachers",
                "Shares of the training half: covered by a vote, all teachers of one "
                "mind, vote right; and their divergence from the vote in nats.",
            )
        },
        every=1,
    ),
    Probe(
        ranking,
        {
            "ranking/": (
                "Kendall's tau",
                "Between the supernet's accuracy of random architectures and the "
                "benchmark's.",
            )
        },
        least={"architectures": 2},
        sizes={"batches": 0},
        asks=True,
    ),
)
