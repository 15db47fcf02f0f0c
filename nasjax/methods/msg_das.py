"""MSG-DAS: K mutually exclusive single-path sub-graphs at once.

Gumbel-TopK draws them, the supernet's full mixture teaches them, and DropBlock holds
back the skip-connects, which would otherwise win.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from nasjax import losses, relaxations, schedules
from nasjax.base import Array, Key, Schedule, Tree
from nasjax.cell import Drop, Mixture, Path, to_path
from nasjax.dropblock import with_drop_block
from nasjax.methods.base import (
    Alpha,
    Method,
    Terms,
    add_weight_loss,
    constant_alpha,
    each_cell,
)
from nasjax.space import SearchSpace
from nasjax.supernet import Architecture

#: Folded into a key for DropBlock; far from the numbers a split gives out.
_DROP = 2**31 - 1


def msg_das(
    *,
    k: int = 2,
    temperature: Schedule = schedules.linear(10.0, 1.0),
    guidance: Schedule = schedules.linear(0.0, 1e-2),
    drop_rate: Schedule = schedules.steps(0.0, 0.2, 4),
    block_size: int = 3,
    drop_rescale: bool = False,
    alpha_start: float = 0.0,
) -> Method:
    """Gumbel-TopK sub-graphs, super-net guidance and DropBlock-Identity.

    Args:
      k: K, sub-graphs (Fig. 3).
      temperature: tau by progress, above 0 (Alg. 1).
      guidance: lambda of Eq. 7 by progress (Table 4).
      drop_rate: of DropBlock-Identity by progress; four equal steps to 0.2 are an
        assumption, the paper gives no figures.
      block_size: of DropBlock, in pixels; an assumption too.
      drop_rescale: scale the kept units up, as DropBlock's paper does and Eq. 4-6 do
        not.
      alpha_start: where alpha starts.

    Raises:
      ValueError: K below 1, a temperature that is not above 0, a rate outside [0, 1).
    """
    method = gumbel_paths(k=k, temperature=temperature, alpha_start=alpha_start)
    method = add_supernet_guidance(method, strength=guidance)
    method = add_drop_block_identity(
        method, rate=drop_rate, block_size=block_size, rescale=drop_rescale
    )
    return method._replace(name="msg_das")


def gumbel_paths(
    *, k: int = 2, temperature: Schedule, alpha_start: float = 0.0
) -> Method:
    """K exclusive paths a step, alpha's gradient straight through (Alg. 1)."""
    if k < 1:
        raise ValueError(f"{k=} is not at least 1")
    schedules.check_above_zero("temperature", temperature)

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        def sample(key: Key, alpha: Array) -> Path:
            tau = temperature(progress)
            return to_path(relaxations.gumbel_top_k(key, alpha, k=k, temperature=tau))

        return each_cell(sample, key, alpha, space)

    def adapt(space: SearchSpace) -> SearchSpace:
        if k > space.num_ops:
            raise ValueError(f"{k=} is more than the {space.num_ops} operations")
        return space

    return Method(
        "gumbel_paths",
        constant_alpha(alpha_start),
        relax,
        adapt=adapt,
        subgraphs=k,
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
        mixture = {
            name: Mixture(relaxations.softmax(alpha[name])) for name in space.cell_types
        }
        teacher = jax.nn.softmax(forward(mixture))
        return {**first(forward, alpha, space), "supernet": teacher}

    def guidance(terms: Terms) -> Array:
        teacher = terms.taught["supernet"]
        return terms.mean(losses.soft_cross_entropy(teacher, terms.logits))

    method = method._replace(teach=teach)
    return add_weight_loss(method, guidance, strength=strength, name="guidance")


def add_drop_block_identity(
    method: Method, *, rate: Schedule, block_size: int = 3, rescale: bool = False
) -> Method:
    """The method, of sampled paths, with DropBlock on its skip-connects.

    The gradient of a skip-connect's alpha is then, in expectation, the share of units
    kept times what it were without (MSG-DAS Eq. 4-6).

    Args:
      method: whose architectures are paths.
      rate: share of the units dropped, by progress; a little more than what is
        (`nasjax.dropblock.drop_block`).
      block_size: pixels.
      rescale: scale the kept units up, which undoes the smaller gradient.

    Raises:
      ValueError: a block below 1, or a rate outside [0, 1).
    """
    if block_size < 1:
        raise ValueError(f"{block_size=} is not at least 1")
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
        for number, (name, path) in enumerate(architecture.items()):
            assert isinstance(path, Path)
            own = jax.random.fold_in(drop_key, number)
            drop = Drop(
                jax.random.split(own, path.weight.shape),
                jnp.full(path.weight.shape, rate(progress)),
            )
            architecture[name] = path._replace(drop=drop)
        return architecture

    return method._replace(
        adapt=adapt, relax=relax, schedules={**method.schedules, "drop_rate": rate}
    )
