"""What a search method is: pure functions over architecture parameters.

A method says how alpha starts, how it relaxes (to one sub-graph or to several), what
is added to either loss, how alpha is projected after its update, what it remembers of
each example and of past supernets, and how a genotype is read off. It never runs a
loop: `nasjax.bilevel` has the one step that all methods share. Every field but the
first three has a default that does nothing, so a method is the few fields in which it
differs, and two methods compose by ``method._replace(...)`` or by functions from a
method to a method, such as `adding.add_weight_loss` and
`sd_darts.add_voting_teachers`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import relaxations, spaces
from nasjax.architecture import Mixture, Path, to_path, without_drop
from nasjax.base import Array, Key, Tree
from nasjax.data.batches import Batch
from nasjax.genotype import Genotype
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture

#: Architecture parameters: ``{cell type: [E, O]}``, float32; a method may add arrays
#: of its own under other names.
Alpha = Mapping[str, Array]


class Terms(NamedTuple):
    """What an added loss may read, for one sub-graph.

    Attributes:
      space: the search space, as the method adapted it.
      alpha: architecture parameters.
      architecture: what was run, relaxed from them.
      logits: ``[B, Y]`` the supernet's outputs.
      batch: the batch they belong to.
      memory: the method's memory before this step.
      progress: fraction of the search.
      epoch: int32 scalar.
      forward: ``architecture -> logits`` of the same batch and weights, the weights
        under `stop_gradient`: for teachers, at no memory for a backward pass.
      mean: ``[B] -> scalar`` over the examples of weight 1, of all devices.
      taught: by the method's `teach` and `recall`, and by its `lead` its logits as
        ``"lead"``; empty in alpha's loss.
    """

    space: SearchSpace
    alpha: Alpha
    architecture: Architecture
    logits: Array
    batch: Batch
    memory: Tree
    progress: Array
    epoch: Array
    forward: Callable[[Architecture], Array]
    mean: Callable[[Array], Array]
    taught: Mapping[str, Tree] = {}


#: ``(forward, alpha, space) -> {name: tree}``, the first as in `Terms`.
Teach = Callable[
    [Callable[[Architecture], Array], Alpha, SearchSpace], Mapping[str, Tree]
]


def no_teacher(
    forward: Callable[[Architecture], Array], alpha: Alpha, space: SearchSpace
) -> Mapping[str, Tree]:
    """Nothing that is taught."""
    del forward, alpha, space
    return {}


#: ``(weights, alpha) -> probs [B, Y]``: what another supernet says of the batch at
#: hand, relaxed with the noise of this step; the mean over sub-graphs, no gradient.
Rerun = Callable[[Tree, Alpha], Array]


#: ``(snapshots, rerun, epoch) -> {name: tree}``.
Recall = Callable[[Tree, Rerun, Array], Mapping[str, Tree]]


def no_snapshots(weights: Tree, alpha: Alpha) -> Tree:
    """Nothing kept of any supernet."""
    del weights, alpha
    return ()


def keep_snapshots(snapshots: Tree, weights: Tree, alpha: Alpha, epoch: Array) -> Tree:
    """The snapshots unchanged."""
    del weights, alpha, epoch
    return snapshots


def no_recall(snapshots: Tree, rerun: Rerun, epoch: Array) -> Mapping[str, Tree]:
    """Nothing that snapshots teach."""
    del snapshots, rerun, epoch
    return {}


def no_loss(terms: Terms) -> Array:
    """Nothing to add."""
    del terms
    return jnp.zeros(())


def no_projection(
    alpha: Alpha, architecture: Architecture, progress: Array, space: SearchSpace
) -> Alpha:
    """Alpha as the optimizer left it."""
    del architecture, progress, space
    return alpha


def no_memory(num_examples: int, num_classes: int) -> Tree:
    """Nothing to remember."""
    del num_examples, num_classes
    return ()


def keep_memory(memory: Tree, batch: Batch, probs: Array, epoch: Array) -> Tree:
    """The memory unchanged."""
    del batch, probs, epoch
    return memory


def same_space(space: SearchSpace) -> SearchSpace:
    """The space as it is."""
    return space


def normal_alpha(scale: float) -> Callable[[Key, SearchSpace], Alpha]:
    """An `init` that draws alpha from N(0, scale^2). It consumes its key."""

    def init(key: Key, space: SearchSpace) -> Alpha:
        keys = jax.random.split(key, len(space.cell_types))
        shape = (space.num_edges, space.num_ops)
        return {
            name: scale * jax.random.normal(subkey, shape)
            for name, subkey in zip(space.cell_types, keys, strict=True)
        }

    return init


def constant_alpha(value: float) -> Callable[[Key, SearchSpace], Alpha]:
    """An `init` that starts alpha at one value."""

    def init(key: Key, space: SearchSpace) -> Alpha:
        del key
        shape = (space.num_edges, space.num_ops)
        # An array each: one that stands twice in a state cannot be donated.
        return {name: jnp.full(shape, value, jnp.float32) for name in space.cell_types}

    return init


def map_cell_types(
    relax: Callable[[Key, Array], Any], key: Key, alpha: Alpha, space: SearchSpace
) -> Architecture:
    """``relax(key, [E, O])`` of every cell type, with a key of its own.

    Consumes the key.
    """
    keys = jax.random.split(key, len(space.cell_types))
    return {
        name: relax(subkey, alpha[name])
        for name, subkey in zip(space.cell_types, keys, strict=True)
    }


def softmax_mixture(alpha: Alpha, space: SearchSpace) -> Architecture:
    """The whole supernet, each edge the mixture of softmax(alpha) (DARTS Eq. 2)."""
    return {
        name: Mixture(weights)
        for name, weights in softmax_strengths(alpha, space).items()
    }


def softmax_strengths(alpha: Alpha, space: SearchSpace) -> dict[str, Array]:
    """Softmax over the operations of each edge."""
    return {name: relaxations.softmax(alpha[name]) for name in space.cell_types}


#: ``(key, alpha, progress, space) -> architecture``.
Relax = Callable[[Key, Alpha, Array, SearchSpace], Architecture]
#: ``(key, loss, architecture, progress) -> architecture``.
Attack = Callable[
    [Key, Callable[[Architecture], Array], Architecture, Array], Architecture
]


class Candidates(NamedTuple):
    """A choice among sampled architectures at the end of a search.

    Attributes:
      number: architectures drawn.
      batches: of the validation half on which each is measured.
      finalists: the best of them, measured on the whole half.
    """

    number: int
    batches: int
    finalists: int


class Method(NamedTuple):
    """A search method.

    Attributes:
      name: the field's name of it.
      init: ``(key, space) -> alpha``. Consumes the key.
      relax: ``(key, alpha, progress, space) -> architecture``, its leaves with a
        leading K where the method has `subgraphs`. Consumes the key.
      weight_relax: the same for the weights' pass; None takes `relax`.
      attack: ``(key, loss, architecture, progress) -> architecture`` of the weights'
        pass, which replaces what was relaxed and has no gradient; ``loss`` is the
        cross-entropy of an architecture at the weights and on the batch at hand.
        Consumes the key. None for none; not with `subgraphs`.
      arch_gradient: ``(train_loss, valid_loss, weights, alpha, *, inner_step, average)
        -> (value, gradient)`` in place of what `order` names, see
        `nasjax.arch_gradients`; ``average`` is that of a gradient over devices.
      strengths: ``(alpha, space) -> {cell type: [E, O]}``, comparable between edges,
        by which a genotype is derived.
      settle: ``(alpha, space) -> architecture`` by which the supernet is judged,
        without chance; None takes the most probable one, see `most_probable`.
      adapt: the space the method searches in, given the one asked for.
      weight_loss: added to the training loss of the weights, once a sub-graph.
      arch_loss: added to the validation loss of alpha, once a sub-graph.
      teach: ``(forward, alpha, space) -> {name: tree}``, which `weight_loss` reads as
        ``terms.taught``: made once for all sub-graphs, without a gradient.
      lead: a loss of the mixture of softmax(alpha), with which a step trains the
        weights beside the sub-graphs', once for all of them, at the cost of the
        mixture; None for none.
      project: ``(alpha, architecture, progress, space) -> alpha`` after alpha's update,
        with the architecture its gradient was taken at, sub-graph after sub-graph.
      init_memory: ``(num_examples, num_classes) -> tree`` kept on the device; the
        second axis of each array is the example's.
      remember: ``(memory, batch, probs [B, Y], epoch) -> memory`` after a weight
        step, with the outputs (their mean over sub-graphs); ``batch.rows`` is where.
      init_snapshots: ``(weights, alpha) -> tree``, from those before the first step:
        what is kept of supernets, on several devices the same on each; arrays of its
        own, none of the two it is given.
      take_snapshot: ``(snapshots, weights, alpha, epoch) -> snapshots`` after the last
        step of an epoch, with what it ended with.
      recall: ``(snapshots, rerun, epoch) -> {name: tree}``, which `weight_loss` reads
        as ``terms.taught`` beside what `teach` made: once for all sub-graphs, without
        a gradient. ``rerun`` is as in `Rerun`.
      order: 1, 2 for the gradient through the weights' own step, 0 leaves alpha as
        it is.
      inner_clip: whether the weights' own step, of order 2, clips the gradient (an
        optimizer with ``clips``, see `optimizers.weight_optimizer`).
      arch_start: epoch from which alpha is trained.
      subgraphs: K that are run in a step, their losses summed; None is one, without
        the leading axis.
      candidates: architectures to draw at the end of the search, the best of which
        is written into alpha; None derives from alpha as it is.
      schedules: what changes with progress, by name, for logs and report.
    """

    name: str
    init: Callable[[Key, SearchSpace], Alpha]
    relax: Relax
    strengths: Callable[[Alpha, SearchSpace], dict[str, Array]] = softmax_strengths
    weight_relax: Relax | None = None
    attack: Attack | None = None
    arch_gradient: Callable[..., tuple[Array, Alpha]] | None = None
    settle: Callable[[Alpha, SearchSpace], Architecture] | None = None
    adapt: Callable[[SearchSpace], SearchSpace] = same_space
    weight_loss: Callable[[Terms], Array] = no_loss
    arch_loss: Callable[[Terms], Array] = no_loss
    teach: Teach = no_teacher
    lead: Callable[[Terms], Array] | None = None
    project: Callable[[Alpha, Architecture, Array, SearchSpace], Alpha] = no_projection
    init_memory: Callable[[int, int], Tree] = no_memory
    remember: Callable[[Tree, Batch, Array, Array], Tree] = keep_memory
    init_snapshots: Callable[[Tree, Alpha], Tree] = no_snapshots
    take_snapshot: Callable[[Tree, Tree, Alpha, Array], Tree] = keep_snapshots
    recall: Recall = no_recall
    order: int = 1
    inner_clip: bool = True
    arch_start: int = 0
    subgraphs: int | None = None
    candidates: Candidates | None = None
    schedules: Mapping[str, Schedule] = {}

    def derive(self, space: SearchSpace, alpha: Mapping[str, Any]) -> Genotype:
        """The genotype alpha stands for, by the method's strengths.

        Raises:
          ValueError: alpha is not of the space, or not finite.
        """
        spaces.check_alpha(space, alpha)
        arrays = {name: jnp.asarray(values) for name, values in alpha.items()}
        for name, array in arrays.items():  # a method's own arrays too
            if not jnp.isfinite(array).all():
                raise ValueError(f"alpha[{name!r}] has values that are not finite")
        return spaces.derive(space, self.strengths(arrays, space))

    def draw(
        self, key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        """One architecture of `relax`: of several the first, with nothing dropped.

        Consumes the key.
        """
        runs = self.relax(key, alpha, progress, space)
        if self.subgraphs is not None:
            runs = jax.tree.map(lambda leaf: leaf[0], runs)
        return {name: without_drop(cell) for name, cell in runs.items()}

    def settled(self, alpha: Alpha, space: SearchSpace) -> Architecture:
        """What the supernet is judged by: no chance in it, and nothing dropped.

        Differentiable in alpha; see `settle` and `most_probable`.
        """
        if self.settle is None:
            return most_probable(self, alpha, space)
        runs = self.settle(alpha, space)
        return {name: without_drop(cell) for name, cell in runs.items()}


def most_probable(method: Method, alpha: Alpha, space: SearchSpace) -> Architecture:
    """The architecture that a method is most likely to run at the end of its search.

    A mixture is what `Method.relax` makes of alpha at progress 1, if it makes the same
    whatever the key. Of what is sampled it is the strongest operation of every edge,
    at weight 1 (ties to the earlier): as a path on every edge, or on those that a
    genotype keeps if the method samples edges too, or as a mixture of one-hot weights.
    Its gradient is that of the strengths, straight through.

    Args:
      method: of which `relax` and `strengths` alone are asked.
      alpha: architecture parameters.
      space: as the method adapted it.
    """
    # Keys of its own: two samples tell whether chance has a part in it.
    one, other = (
        method.draw(jax.random.key(seed), alpha, jnp.ones(()), space) for seed in (0, 1)
    )
    return {
        name: _settled(space, (one[name], other[name]), strengths)
        for name, strengths in method.strengths(alpha, space).items()
    }


def _settled(
    space: SearchSpace, samples: tuple[Mixture | Path, Any], strengths: Array
) -> Mixture | Path:
    """Of two samples of a cell, see `most_probable`; strengths ``[E, O]``."""
    sample, other = samples
    strongest = relaxations.strongest_operations(strengths)
    if isinstance(sample, Mixture):
        same = (sample.weights == other.weights).all()
        return Mixture(jnp.where(same, sample.weights, strongest))
    path = to_path(strongest)
    kept = relaxations.strongest_edges(space, strengths.max(axis=-1))
    return path._replace(active=sample.active.all() | kept)
