"""The network as a Linen module, for code that is written around Flax."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array
from nasjax.genotype import Genotype
from nasjax.network import functions
from nasjax.network.settings import Settings


class Network(nn.Module):
    """A discrete network.

    Its variables are those of `network.init`, ``{"params": …, "batch_stats": …}``, so
    that weights move freely between the two forms; `network.apply` and
    `network.train_apply` say what the attributes mean.

    >>> import jax
    >>> from nasjax import genotypes
    >>> net = Network(genotypes.DARTS_V2, channels=4, num_cells=3)
    >>> images = jnp.zeros((2, 32, 32, 3))
    >>> variables = net.init(jax.random.key(0), images)
    >>> net.apply(variables, images).shape
    (2, 10)
    """

    genotype: Genotype
    dataset: str = "cifar10"
    channels: int = 36
    num_cells: int = 20
    num_classes: int = 10
    auxiliary: bool = False
    dtype: Any = jnp.float32
    depthwise: str = "auto"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, images: Array, *, train: bool = False, drop_path_rate: Array | float = 0.0
    ) -> Any:
        """Classify ``[B, H, W, c]`` images.

        Training reads the stream ``drop_path`` where the rate is not 0.0, and writes
        the collection ``batch_stats``.

        Returns:
          Logits ``[B, Y]``; in training those of both heads.
        """
        settings = Settings(
            Genotype(*self.genotype),
            self.dataset,
            self.channels,
            self.num_cells,
            self.num_classes,
            self.auxiliary,
            images.shape[-1],
        )
        templates = functions.skeleton(settings).templates
        params = {
            name: self.param(name, layers.draw, tree)
            for name, tree in templates["params"].items()
        }
        stats = {
            name: self.variable("batch_stats", name, functions.running_start, tree)
            for name, tree in templates["batch_stats"].items()
        }
        running = {name: held.value for name, held in stats.items()}
        variables = {"params": params, "batch_stats": running}
        if not train:
            return functions.apply(
                variables, images, settings.genotype, **self._shared()
            )
        drops = not functions.is_zero(drop_path_rate)
        output = functions.train_apply(
            variables,
            images,
            settings.genotype,
            **self._shared(),
            key=self.make_rng("drop_path") if drops else None,
            drop_path_rate=drop_path_rate,
            remat=self.remat,
            axis_name=self.axis_name,
        )
        if not self.is_initializing():
            for name, held in stats.items():
                held.value = output.batch_stats[name]
        return output.logits, output.auxiliary

    def _shared(self) -> dict[str, Any]:
        """Arguments of both passes."""
        return {
            "dataset": self.dataset,
            "channels": self.channels,
            "num_cells": self.num_cells,
            "num_classes": self.num_classes,
            "dtype": self.dtype,
            "depthwise": self.depthwise,
        }
