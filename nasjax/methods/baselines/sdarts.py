"""SmoothDARTS: weights trained beside alpha (Chen and Hsieh, arXiv 2002.05283)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import relaxations, schedules
from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Key, Tree
from nasjax.methods.base import Alpha, Method, softmax_mixture
from nasjax.methods.darts import darts
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture

#: epsilon by epoch in the published code: 0.03 + 0.27 t / T.
EPSILON = schedules.linear(0.03, 0.3)


def sdarts_rs(*, epsilon: Schedule = EPSILON, alpha_scale: float = 1e-3) -> Method:
    """Random smoothing: uniform noise on the mixture's weights in the weights' pass.

    Noise in [-epsilon, epsilon] on softmax(alpha), then
    `relaxations.project_simplex_clip` per edge; the network runs on that. Alpha's pass
    is DARTS's of first order. Source: Eq. 8; the published code raises epsilon once per
    epoch, ours with every step.

    Args:
      epsilon: by progress.
      alpha_scale: alpha starts at this times N(0, 1).
    """
    schedules.check("epsilon", epsilon)

    def weight_relax(
        key: Key, alpha: Alpha, progress: Array, space: SearchSpace
    ) -> Architecture:
        mixture = softmax_mixture(lax.stop_gradient(alpha), space)
        return _noisy(key, mixture, epsilon(progress))

    return darts(alpha_scale=alpha_scale)._replace(
        name="sdarts_rs",
        weight_relax=weight_relax,
        schedules={"epsilon": epsilon},
    )


def sdarts_adv(
    *,
    epsilon: Schedule = EPSILON,
    steps: int = 7,
    alpha_scale: float = 1e-3,
) -> Method:
    """Adversarial: the mixture's weights that raise the training loss most (Eq. 9).

    From a random start in the ball of radius epsilon (largest entry) around
    softmax(alpha), projected signed gradient ascent in steps of ``2 epsilon / steps``;
    the weights' gradient is taken there, or at softmax(alpha) where the attack has
    failed to raise the loss. The published code attacks a network in evaluation mode; a
    supernet here normalises by the batch throughout (a deviation). A step costs
    ``steps`` further gradients.

    Args:
      epsilon: by progress.
      steps: of ascent.
      alpha_scale: alpha starts at this times N(0, 1).

    Raises:
      ValueError: no step.
    """
    schedules.check("epsilon", epsilon)
    if steps < 1:
        raise ValueError(f"{steps=} is not at least 1")

    def attack(
        key: Key,
        loss: Callable[[Architecture], Array],
        architecture: Architecture,
        progress: Array,
    ) -> Architecture:
        radius = epsilon(progress)
        start = _noisy(key, architecture, radius)

        def ascend(at: Architecture, _: None) -> tuple[Architecture, None]:
            gradient = jax.grad(loss)(at)
            moved = jax.tree.map(
                lambda x, g: x + (2 * radius / steps) * jnp.sign(g), at, gradient
            )
            return _within(moved, architecture, radius), None

        found, _ = lax.scan(ascend, start, None, length=steps)
        failed = loss(architecture) > loss(found)
        return jax.tree.map(lambda x, q: jnp.where(failed, q, x), found, architecture)

    return darts(alpha_scale=alpha_scale)._replace(
        name="sdarts_adv", attack=attack, schedules={"epsilon": epsilon}
    )


def _noisy(key: Key, architecture: Architecture, radius: Array) -> Architecture:
    """Uniform noise on each weight, projected. Consumes the key."""
    keys = jax.random.split(key, len(architecture))
    found = {}
    for own, (name, cell) in zip(keys, architecture.items(), strict=True):
        mixture = _mixture(cell)
        noise = jax.random.uniform(own, mixture.weights.shape, minval=-1.0)
        found[name] = _moved(mixture, radius * noise, radius)
    return found


def _within(
    moved: Architecture, centre: Architecture, radius: Array
) -> dict[str, Mixture | Path]:
    """Back into the ball, then onto the simplex."""

    def one(x: Mixture | Path, q: Mixture | Path) -> Mixture:
        x, q = _mixture(x), _mixture(q)
        difference = jnp.clip(x.weights - q.weights, -radius, radius)
        return _moved(q, difference, radius)

    return {name: one(cell, centre[name]) for name, cell in moved.items()}


def _moved(cell: Mixture, difference: Array, radius: Array) -> Mixture:
    """A mixture moved, and projected; with a radius of 0 its very bits."""
    moved = relaxations.project_simplex_clip(cell.weights + difference)
    return cell._replace(weights=jnp.where(radius > 0, moved, cell.weights))


def _mixture(cell: Tree) -> Mixture:
    assert isinstance(cell, Mixture)
    return cell
