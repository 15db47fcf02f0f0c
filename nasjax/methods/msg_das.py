"""MSG-DAS: K mutually exclusive single-path sub-graphs at once.

Gumbel-TopK draws them, the supernet's full mixture teaches them, and DropBlock holds
back the skip-connects, which would otherwise win. What the paper compares each of them
with is a switch: draws with replacement, one graph of all, a teacher that is trained.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from nasjax import losses, relaxations, schedules
from nasjax.architecture import Drop, Mixture, Path, to_path
from nasjax.base import Array, Key, Tree
from nasjax.dropblock import with_drop_block
from nasjax.methods.adding import add_weight_loss
from nasjax.methods.base import (
    Alpha,
    Method,
    Terms,
    constant_alpha,
    map_cell_types,
    softmax_mixture,
)
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture

#: Folded into a key for DropBlock; far from the numbers a split gives out.
_DROP = 2**31 - 1


def msg_das(
    *,
    k: int = 2,
    replacement: bool = False,
    aggregate: bool = False,
    temperature: Schedule = schedules.linear(10.0, 1.0),
    guidance: Schedule = schedules.linear(0.0, 1e-2),
    distillation: str = "guidance",
    drop_rate: Schedule = schedules.steps(0.0, 0.2, 4),
    block_size: int = 3,
    drop_rescale: bool = False,
    alpha_start: float = 0.0,
) -> Method:
    """Gumbel-TopK sub-graphs, super-net guidance and DropBlock-Identity.

    Args:
      k: K, sub-graphs (Fig. 3).
      replacement: draw each sub-graph from all operations (`gumbel_paths`).
      aggregate: run the sub-graphs as one graph (`gumbel_paths`).
      temperature: tau by progress, above 0 (Alg. 1).
      guidance: lambda of Eq. 7 by progress (Table 4); of in-place distillation its
        strength, of which the original is ``constant(1)``.
      distillation: "guidance" (`add_supernet_guidance`), or "in_place", which trains
        the teacher too (`add_in_place_distillation`).
      drop_rate: of DropBlock-Identity by progress; four equal steps to 0.2 are an
        assumption, the paper gives no figures.
      block_size: of DropBlock, in pixels; an assumption too.
      drop_rescale: scale the kept units up, as DropBlock's paper does and Eq. 4-6 do
        not.
      alpha_start: where alpha starts.

    Raises:
      ValueError: K below 1, a temperature that is not above 0, a rate outside [0, 1),
        an unknown distillation.
    """
    if distillation not in _DISTILLATIONS:
        known = ", ".join(_DISTILLATIONS)
        raise ValueError(f"{distillation=} is not one of {known}")
    method = gumbel_paths(
        k=k,
        replacement=replacement,
        aggregate=aggregate,
        temperature=temperature,
        alpha_start=alpha_start,
    )
    method = _DISTILLATIONS[distillation](method, strength=guidance)
    method = add_drop_block_identity(
        method, rate=drop_rate, block_size=block_size, rescale=drop_rescale
    )
    return method._replace(name="msg_das")


def gumbel_paths(
    *,
    k: int = 2,
    replacement: bool = False,
    aggregate: bool = False,
    temperature: Schedule,
    alpha_start: float = 0.0,
) -> Method:
    """K exclusive paths a step, alpha's gradient straight through (Alg. 1).

    Args:
      k: K, sub-graphs.
      replacement: draw each of them from all operations, so that they may share some,
        as SNAS and DARTS-EGS do (MSG-DAS section 2).
      aggregate: run them as one graph, whose edges add up what was drawn for them
        (`relaxations.union`), as DARTS-EGS does and PC-DARTS alike (sections 2 and
        4.3), instead of one after the other. It takes the memory and time of the
        mixture: what was not drawn runs with weight 0.
      temperature: tau by progress, above 0.
      alpha_start: where alpha starts.

    Raises:
      ValueError: K below 1, or a temperature that is not above 0.
    """
    if k < 1:
        raise ValueError(f"{k=} is not at least 1")
    schedules.check_above_zero("temperature", temperature)
    draw = (
        relaxations.gumbel_with_replacement if replacement else relaxations.gumbel_top_k
    )

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        def sample(key: Key, alpha: Array) -> Mixture | Path:
            chosen = draw(key, alpha, k=k, temperature=temperature(progress))
            return Mixture(relaxations.union(chosen)) if aggregate else to_path(chosen)

        return map_cell_types(sample, key, alpha, space)

    def adapt(space: SearchSpace) -> SearchSpace:
        if k > space.num_ops and not replacement:
            raise ValueError(f"{k=} is more than the {space.num_ops} operations")
        return space

    return Method(
        "gumbel_paths",
        constant_alpha(alpha_start),
        relax,
        adapt=adapt,
        subgraphs=None if aggregate else k,
        schedules={"temperature": temperature},
    )


def add_supernet_guidance(
    method: Method, *, strength: Schedule = schedules.linear(0.0, 1e-2)
) -> Method:
    """The method with the full mixture as the teacher of its weights (Eq. 7).

    The added term is lambda * CE(p_super, p_k); the paper's minus sign is missing.
    """
    first = method.teach

    def teach(
        forward: Callable[[Architecture], Array], alpha: Alpha, space: SearchSpace
    ) -> Mapping[str, Tree]:
        teacher = jax.nn.softmax(forward(softmax_mixture(alpha, space)))
        return {**first(forward, alpha, space), "supernet": teacher}

    def guidance(terms: Terms) -> Array:
        teacher = terms.taught["supernet"]
        return terms.mean(losses.soft_cross_entropy(teacher, terms.logits))

    method = method._replace(teach=teach)
    return add_weight_loss(method, guidance, strength=strength, name="guidance")


def add_in_place_distillation(
    method: Method, *, strength: Schedule = schedules.constant(1.0)
) -> Method:
    """The method with the full mixture as a teacher that the same step trains.

    The original in-place distillation (Yu and Huang, arXiv 1903.05134, section 3.3;
    BigNAS), which MSG-DAS's guidance is compared with (section 3.3): the labels teach
    the supernet alone, and its soft outputs, without a gradient, the sub-graphs. Its
    step takes the memory and time of the mixture's, which guidance is to save.

    Args:
      method: to add to.
      strength: s by progress. The loss of the weights is then s times the supernet's
        cross-entropy plus, of each sub-graph, (1 - s) times that with the labels and s
        times that with the soft outputs. 1 is the original; less than that is ours, and
        0 the method without it.
    """

    def lead(terms: Terms) -> Array:
        return strength(terms.progress) * terms.mean(_with_labels(terms))

    def softened(terms: Terms) -> Array:
        teacher = jax.nn.softmax(terms.taught["lead"])
        with_teacher = losses.soft_cross_entropy(teacher, terms.logits)
        return terms.mean(with_teacher - _with_labels(terms))

    method = method._replace(lead=lead)
    return add_weight_loss(method, softened, strength=strength, name="guidance")


def _with_labels(terms: Terms) -> Array:
    return losses.cross_entropy_per_example(terms.logits, terms.batch.labels)


_DISTILLATIONS = {
    "guidance": add_supernet_guidance,
    "in_place": add_in_place_distillation,
}


def add_drop_block_identity(
    method: Method, *, rate: Schedule, block_size: int = 3, rescale: bool = False
) -> Method:
    """The method with DropBlock on its skip-connects.

    The gradient of a skip-connect's alpha is then, in expectation, the share of units
    kept times what it were without (MSG-DAS Eq. 4-6).

    Args:
      method: to add to. In its mixtures, as in aggregated sub-graphs, the edges that
        leave a state share the blocks dropped of it.
      rate: share of the units dropped, by progress; a little more than what is
        (`nasjax.dropblock.drop_block`).
      block_size: pixels.
      rescale: scale the kept units up, which undoes the smaller gradient.

    Raises:
      ValueError: a block below 1, or a rate outside [0, 1).
    """
    if block_size < 1:
        raise ValueError(f"{block_size=} is not at least 1")
    schedules.check("drop_rate", rate)
    with jax.ensure_compile_time_eval():  # a method may be made inside a jit
        ends = [float(rate(jnp.float32(at))) for at in (0.0, 1.0)]
    if not all(0 <= end < 1 for end in ends):
        raise ValueError(f"drop rate goes from {ends[0]} to {ends[1]}, not in [0, 1)")

    def adapt(space: SearchSpace) -> SearchSpace:
        space = method.adapt(space)
        dropping = partial(with_drop_block, block_size=block_size, rescale=rescale)
        operations = tuple(
            dropping(op) if op.name == "skip_connect" else op for op in space.operations
        )
        return space._replace(operations=operations)

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        # The paths are drawn as without DropBlock: a rate of 0 changes no bit.
        architecture = dict(method.relax(key, alpha, progress, space))
        drop_key = jax.random.fold_in(key, _DROP)
        for number, (name, cell) in enumerate(architecture.items()):
            own = jax.random.fold_in(drop_key, number)
            edges = (
                cell.weight.shape if isinstance(cell, Path) else cell.weights.shape[:-1]
            )
            drop = Drop(jax.random.split(own, edges), jnp.full(edges, rate(progress)))
            architecture[name] = cell._replace(drop=drop)
        return architecture

    return method._replace(
        adapt=adapt, relax=relax, schedules={**method.schedules, "drop_rate": rate}
    )
