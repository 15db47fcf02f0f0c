"""STC-NAS: source-target consistency (Sun et al., Neurocomputing 497, 2022).

The sampled cell looks like the derived one: one operation per edge, as many edges as
the genotype keeps, weights that do not compete, and a loss that pulls the weights of
an edge towards the operation sampled on it. All cells of a type run the same sample:
the paper stacks "the sampled sub-cell" (Fig. 4).
"""

from collections.abc import Callable, Collection
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import losses, relaxations, schedules
from nasjax.architecture import Path
from nasjax.base import Array, Key
from nasjax.methods.adding import add_arch_loss
from nasjax.methods.base import Alpha, Method, constant_alpha, map_cell_types
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture

#: How an operation's weight follows from alpha: Eq. 3, and Fig. 6's alternatives.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "softmax": relaxations.softmax,
    "sigmoid": jax.nn.sigmoid,
}
NOISES = ("one_sided", "symmetric")
JS_GRADIENTS = ("sampled", "all")
JS_SCOPES = ("edge", "node", "cell")
JS_STEPS = ("loss", "decoupled")
PROJECTIONS = ("auto", "always", "never")


def stc_nas(
    *,
    noise_range: Schedule = schedules.linear(0.3, 0.0),
    js_strength: Schedule = schedules.linear(0.0, 2.0),
    alpha_start: float = 0.3,
    arch_start: int = 0,
    activation: str = "relu",
    cell_consistency: bool = True,
    keep_none: bool = False,
    noise: str = "one_sided",
    js_gradient: str = "sampled",
    js_scope: str = "edge",
    js_step: str = "loss",
    js_rate: float = 3e-4,
    project: str = "auto",
) -> Method:
    """Kronecker sampling, projection and JS loss.

    The paper leaves open what `alpha_start` and the arguments from `keep_none` on say,
    and whether alpha rests at first: these defaults are assumptions; docs/stc_nas.md
    says what was tried.

    Args:
      noise_range: r of the sampling noise, by progress (Fig. 7).
      js_strength: lambda of Eq. 10, by progress (Table 7).
      alpha_start: where alpha starts, near the untouched entries of Fig. 9 (0.28 to
        0.32, by node).
      arch_start: epochs in which the weights alone are trained, of paths drawn from
        alpha as it starts; the paper names no such warm-up, and without one skip
        connections win in NAS-Bench-201 (whose configurations have 12 of 50 epochs).
      activation: "relu" (Eq. 3), "softmax" or "sigmoid" (Fig. 6).
      cell_consistency: run only the edges that a genotype would keep; else every
        edge (Table 8).
      keep_none: `none` is a candidate where the derivation may take it
        (NAS-Bench-201); Figs. 3 and 9 show it nowhere.
      noise: "one_sided" in [0, r) or "symmetric" in [-r, r).
      js_gradient: the JS loss moves the "sampled" entry of each active edge, or "all"
        entries; under "all" those not sampled sink below 0, where the ReLU is dead,
        against Fig. 9.
      js_scope: alpha is divided by its sum over an "edge", over the edges into a
        "node", or over the "cell", before it is compared with the sample (`js_loss`).
      js_step: the JS term is part of the "loss", so that Adam scales it together with
        the cross-entropy; or "decoupled", a gradient step of its own after Adam's.
      js_rate: learning rate of the decoupled step.
      project: clip sampled entries to [0, 1] (Eq. 6): "always", "never", or "auto",
        with the ReLU alone, for under softmax and sigmoid alpha is no weight.

    Raises:
      ValueError: a choice that is not one of those named.
    """
    schedules.check("noise_range", noise_range)
    _choose("activation", activation, ACTIVATIONS)
    _choose("noise", noise, NOISES)
    _choose("js_step", js_step, JS_STEPS)
    _choose("project", project, PROJECTIONS)
    weigh = ACTIVATIONS[activation]

    def relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        return map_cell_types(
            partial(
                sample_cell,
                space,
                noise_range=noise_range(progress),
                symmetric=noise == "symmetric",
                activation=weigh,
                cell_consistency=cell_consistency,
            ),
            key,
            alpha,
            space,
        )

    method = Method(
        "stc_nas",
        constant_alpha(alpha_start),
        relax,
        strengths=lambda alpha, space: {
            name: weigh(alpha[name]) for name in space.cell_types
        },
        settle=partial(
            without_noise, activation=weigh, cell_consistency=cell_consistency
        ),
        adapt=derivable if keep_none else without_none,
        arch_start=arch_start,
        schedules={"noise_range": noise_range},
    )
    method = add_js_loss(
        method,
        activation=weigh,
        gradient=js_gradient,
        scope=js_scope,
        strength=js_strength,
        rate=js_rate if js_step == "decoupled" else None,
    )
    clips = project == "always" or (project == "auto" and activation == "relu")
    return add_projection(method) if clips else method


def _choose(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {sorted(choices)}")


def without_none(space: SearchSpace) -> SearchSpace:
    """The space without `none` among its candidates."""
    return space.without("none") if "none" in space.primitives else space


def derivable(space: SearchSpace) -> SearchSpace:
    """The space without `none` where the derivation never takes it."""
    return space if space.edges_per_node is None else without_none(space)


def sample_cell(
    space: SearchSpace,
    key: Key,
    alpha: Array,
    *,
    noise_range: Array,
    activation: Callable[[Array], Array],
    symmetric: bool = False,
    cell_consistency: bool = True,
) -> Path:
    """One operation per edge (Eq. 5) on the edges a genotype would keep, or on all.

    Consumes the key.
    """
    sample = relaxations.sample_kronecker(
        key,
        alpha,
        noise_range=noise_range,
        symmetric=symmetric,
        activation=activation,
    )
    if cell_consistency:
        active = relaxations.strongest_edges(space, sample.score)
    else:
        active = jnp.ones(space.num_edges, bool)
    return Path(sample.operation, sample.weight, active)


def without_noise(
    alpha: Alpha,
    space: SearchSpace,
    *,
    activation: Callable[[Array], Array],
    cell_consistency: bool = True,
) -> Architecture:
    """The cells that are sampled where no noise is left, with their own weights."""
    sample = partial(
        sample_cell,
        space,
        noise_range=jnp.zeros(()),
        activation=activation,
        cell_consistency=cell_consistency,
    )
    return map_cell_types(sample, jax.random.key(0), alpha, space)


def add_js_loss(
    method: Method,
    *,
    activation: Callable[[Array], Array],
    gradient: str = "sampled",
    scope: str = "edge",
    strength: Schedule = schedules.linear(0.0, 2.0),
    rate: float | None = None,
) -> Method:
    """The method, of sampled paths, with lambda JS(Q || P) for alpha (Eq. 10).

    Args:
      method: whose architectures are paths.
      activation: from alpha ``[E, O]`` to the weights, see `js_divergence`.
      gradient: likewise.
      scope: likewise.
      strength: lambda, by progress.
      rate: None for a term of alpha's loss; else that of a gradient step of its own,
        after the optimizer's and before the projection.

    Raises:
      ValueError: an unknown gradient or scope.
    """
    schedules.check("js_strength", strength)
    _choose("js_gradient", gradient, JS_GRADIENTS)
    _choose("js_scope", scope, JS_SCOPES)
    js = partial(js_loss, activation=activation, gradient=gradient, scope=scope)
    if rate is None:
        return add_arch_loss(
            method,
            lambda terms: js(terms.alpha, terms.architecture, terms.space),
            strength=strength,
            name="js_strength",
        )
    first = method.project

    def project(
        alpha: Alpha, architecture: Architecture, progress: Array, space: SearchSpace
    ) -> Alpha:
        slope = jax.grad(js)(alpha, architecture, space)
        step = rate * strength(progress)
        moved = jax.tree.map(lambda a, g: a - step * g, alpha, slope)
        return first(moved, architecture, progress, space)

    named = {**method.schedules, "js_strength": strength}
    return method._replace(project=project, schedules=named)


def js_loss(
    alpha: Alpha,
    architecture: Architecture,
    space: SearchSpace,
    *,
    activation: Callable[[Array], Array],
    gradient: str = "sampled",
    scope: str = "edge",
) -> Array:
    """Mean of `js_divergence` over the cell types."""
    values = []
    for name in space.cell_types:
        path = architecture[name]
        assert isinstance(path, Path)
        values.append(
            js_divergence(
                space,
                alpha[name],
                path,
                activation=activation,
                gradient=gradient,
                scope=scope,
            )
        )
    return sum(values[1:], values[0]) / len(values)


def js_divergence(
    space: SearchSpace,
    alpha: Array,
    path: Path,
    *,
    activation: Callable[[Array], Array],
    gradient: str = "sampled",
    scope: str = "edge",
) -> Array:
    """JS(Q || P) in nats between the sampled cell and alpha (Eq. 9), a scalar.

    P is ``activation(alpha)`` divided by its sum over a scope, Q the sampled entries of
    that scope, of equal probability; the mean over scopes with a sampled entry. The
    paper says neither how alpha is normalised nor what the gradient reaches: both are
    assumptions. An edge that is not active counts for nothing in Q, and neither does
    one that samples an operation whose output is zero: that loses nothing on the
    images, so the JS loss alone would lift it on every edge.

    Args:
      space: the search space.
      alpha: ``[E, O]``.
      path: what was sampled from it.
      activation: ``[E, O]`` to ``[E, O]``.
      gradient: "sampled" reaches the entries in Q alone, "all" every entry.
      scope: "edge", "node" (the edges into it), or "cell".
    """
    is_zero = jnp.array([operation.is_zero for operation in space.operations])
    counts = path.active & ~is_zero[path.operation]
    chosen = jax.nn.one_hot(path.operation, space.num_ops)
    sampled = jnp.where(counts[:, None], chosen, 0.0)
    if gradient == "sampled":
        alpha = jnp.where(sampled > 0, alpha, jax.lax.stop_gradient(alpha))
    target = np.array([target for _, target in space.edges])
    scopes = {"edge": np.arange(space.num_edges), "node": target, "cell": 0 * target}
    of_edge = scopes[scope]
    together = jnp.asarray(of_edge[:, None] == of_edge[None, :], jnp.float32)

    def shares(values: Array) -> Array:
        """``[E, O]`` divided by the sum of its scope; zeros where that is 0."""
        total = together @ values.sum(axis=-1)
        return values / jnp.where(total > 0, total, 1.0)[:, None]

    per_edge = losses.js_summands(shares(sampled), shares(activation(alpha))).sum(-1)
    # Each edge has its scope's share: the scopes are summed as their edges are.
    has_sample = (together @ sampled.sum(axis=-1) > 0).astype(jnp.float32)
    num_scopes = jnp.vdot(has_sample, 1.0 / together.sum(axis=-1))
    return jnp.vdot(per_edge, has_sample) / jnp.maximum(num_scopes, 1.0)


def add_projection(method: Method) -> Method:
    """The method, of sampled paths, with `project_sampled` after all else."""
    first = method.project

    def project(
        alpha: Alpha, architecture: Architecture, progress: Array, space: SearchSpace
    ) -> Alpha:
        alpha = first(alpha, architecture, progress, space)
        return project_sampled(alpha, architecture)

    return method._replace(project=project)


def project_sampled(alpha: Alpha, architecture: Architecture) -> Alpha:
    """Clip the sampled entries to [0, 1] (Eq. 6–8); the others stay.

    An entry that reaches 0 gets no gradient through its ReLU any more; it comes back
    by Adam's momentum alone. An entry that is not sampled may leave [0, 1] by
    momentum, until it is sampled again.
    """
    projected = dict(alpha)
    for name, path in architecture.items():
        assert isinstance(path, Path)
        values = alpha[name]
        chosen = jax.nn.one_hot(path.operation, values.shape[-1], dtype=bool)
        sampled = chosen & path.active[:, None]
        projected[name] = jnp.where(sampled, jnp.clip(values, 0.0, 1.0), values)
    return projected
