"""The supernet and the discrete network as Flax modules (Linen).

Their parameters are the trees of `supernet.build(...).init` and `network.init`, so that
weights move freely between the two forms.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from nasjax import supernet
from nasjax.base import Array
from nasjax.network import Network as Network
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture


class Supernet(nn.Module):
    """A search space's weight-sharing network; the architecture is an argument.

    The attributes are those of `supernet.build`. Batch normalisation uses the
    statistics of the batch, as everywhere in a supernet, so there is no state.

    >>> import jax
    >>> from nasjax import methods, spaces
    >>> net = Supernet(spaces.nasbench201(), channels=4, num_cells=1)
    >>> alpha = methods.darts().init(jax.random.key(0), net.space)
    >>> runs = methods.darts().relax(jax.random.key(0), alpha, 0.0, net.space)
    >>> images = jnp.zeros((2, 8, 8, 3))
    >>> variables = net.init(jax.random.key(1), images, runs)
    >>> net.apply(variables, images, runs).shape
    (2, 10)
    """

    space: SearchSpace
    channels: int = 16
    num_cells: int | None = None
    num_classes: int = 10
    dtype: Any = jnp.float32
    depthwise: str = "auto"
    stem: str = "cifar"
    residual_affine: bool = False
    axis_name: str | None = None
    synchronised: bool = True
    engine: str = "auto"

    @nn.compact
    def __call__(self, images: Array, architecture: Architecture) -> Array:
        """Logits ``[B, Y]`` of images ``[B, H, W, c]``.

        Args:
          images: normalised, float32.
          architecture: what each cell type runs, as a method relaxes alpha.
        """
        fields = {name: getattr(self, name) for name in _FIELDS}
        _, height, width, image_channels = images.shape
        shape = height, width, image_channels
        net = supernet.build(self.space, image_shape=shape, **fields)
        if self.is_initializing():
            drawn = net.init(self.make_rng("params"))
        else:
            drawn = self.variables["params"]
        weights = {
            name: self.param(name, lambda _, tree=tree: tree)
            for name, tree in drawn.items()
        }
        return net.apply(weights, architecture, images)


_FIELDS = [
    name
    for name in Supernet.__dataclass_fields__
    if name not in ("space", "parent", "name")
]
