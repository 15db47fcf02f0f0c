"""The network around the cells: what a skeleton is, and its common parts."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from nasjax import layers, ops
from nasjax.architecture import Mixture, Path
from nasjax.base import Array, Key, Tree
from nasjax.genotype import Genotype, kept_edges
from nasjax.space import SearchSpace

#: Multiply-accumulates of a cell's edges, ``[E][O]`` -> of those that are run.
CellCost = Callable[[list[list[int]]], float]
#: How images come in: one 3×3 convolution, or ImageNet's three of stride 2.
STEMS = ("cifar", "imagenet")
#: What every cell type runs.
Architecture = Mapping[str, Mixture | Path]


class Settings(NamedTuple):
    """Size and arithmetic of a supernet.

    Attributes:
      channels: C of the first cells.
      num_cells: L (DARTS), or N, cells a stage (NAS-Bench-201).
      num_classes: Y.
      image_shape: ``(H, W, channels)`` of an image.
      dtype: of the activations, float32 or bfloat16; weights, statistics, logits
        and losses are float32.
      context: how the operations are computed.
      stem: one of `STEMS`.
      residual_affine: whether the batch normalisation in the residual blocks of
        NAS-Bench-201 has scale and offset.
    """

    channels: int
    num_cells: int
    num_classes: int
    image_shape: tuple[int, int, int]
    dtype: Any
    context: ops.Context
    stem: str = "cifar"
    residual_affine: bool = False


class Supernet(NamedTuple):
    """A search space's weight-sharing network as pure functions.

    Attributes:
      space: its search space.
      settings: its size.
      init: ``key -> weights``, a tree of float32 arrays. Consumes the key.
      stem: ``(weights, images [B, H, W, c]) -> entry``, all that does not depend on the
        architecture, so that several of one step share it.
      cells: ``(weights, architecture, entry) -> logits [B, Y]``, the rest.
      macs: ``cost -> int``, multiply-accumulates of one image, where ``cost``
        maps the multiply-accumulates of the edges of a cell, ``[E][O]``, to those
        that are run.
    """

    space: SearchSpace
    settings: Settings
    init: Callable[[Key], Tree]
    stem: Callable[[Tree, Array], Tree]
    cells: Callable[[Tree, Architecture, Tree], Array]
    macs: Callable[[CellCost], int]

    def apply(self, weights: Tree, architecture: Architecture, images: Array) -> Array:
        """Logits ``[B, Y]`` of images ``[B, H, W, c]``."""
        return self.cells(weights, architecture, self.stem(weights, images))


def build(
    space: SearchSpace,
    *,
    channels: int = 16,
    num_cells: int | None = None,
    num_classes: int = 10,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    dtype: Any = jnp.float32,
    depthwise: str = "auto",
    stem: str = "cifar",
    residual_affine: bool = False,
    axis_name: str | None = None,
    synchronised: bool = True,
) -> Supernet:
    """The supernet of a space.

    Args:
      space: a search space.
      channels: C of the first cells.
      num_cells: L of the DARTS space (default 8) or N, cells a stage, of
        NAS-Bench-201 (default 5).
      num_classes: Y.
      image_shape: ``(H, W, channels)``.
      dtype: of the activations.
      depthwise: form of the depthwise convolution (`layers.depthwise`).
      stem: "cifar" keeps the resolution, "imagenet" brings 224 pixels to 28; the
        latter in the DARTS space alone.
      residual_affine: the batch normalisation in the residual blocks of NAS-Bench-201
        has scale and offset, as in the benchmark's search code; without (our
        default) nothing is affine between stem and head.
      axis_name: of the devices that share a batch; None on one device.
      synchronised: batch normalisation over the batch of all devices (n devices
        give what one gives), not of each.

    Raises:
      ValueError: a size below 1, an image too small for the skeleton, a dtype
        other than float32 and bfloat16, an unknown form or stem, channels that the
        space's partial channels, or ImageNet's stem, do not divide.
    """
    if num_cells is None:
        num_cells = 5 if space.num_inputs == 1 else 8
    allowed = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    name = dtype if isinstance(dtype, str) else jnp.dtype(dtype).name
    if name not in allowed:
        raise ValueError(f"dtype {name!r} is not float32 or bfloat16")
    if depthwise not in layers.DEPTHWISE_FORMS:
        raise ValueError(
            f"{depthwise=} is not one of {', '.join(layers.DEPTHWISE_FORMS)}"
        )
    _check_stem(stem, space, channels)
    if residual_affine and space.name != "nasbench201":
        raise ValueError(
            f"{residual_affine=} is of the space nasbench201, not of {space.name}"
        )
    sizes = {
        "channels": channels,
        "num_cells": num_cells,
        "num_classes": num_classes,
        "image height": image_shape[0],
        "image width": image_shape[1],
        "image channels": image_shape[2],
    }
    for size, value in sizes.items():
        if value < 1:
            raise ValueError(f"{size} is {value}; it is at least 1")
    if channels % space.channel_divisor:
        raise ValueError(
            f"{channels=} is not a multiple of {space.channel_divisor}, for partial "
            "channels"
        )
    context = ops.Context(depthwise, axis_name, synchronised)
    settings = Settings(
        channels,
        num_cells,
        num_classes,
        image_shape,
        jnp.dtype(allowed[name]),
        context,
        stem,
        residual_affine,
    )
    return space.skeleton(space, settings)


def _check_stem(stem: str, space: SearchSpace, channels: int) -> None:
    if stem not in STEMS:
        raise ValueError(f"{stem=} is not one of {', '.join(STEMS)}")
    if stem == "imagenet" and space.name != "darts":
        raise ValueError(f"{stem=} is of the space darts, not of {space.name}")
    if stem == "imagenet" and channels % 2:
        raise ValueError(f"{channels=} is odd; ImageNet's stem halves it")


def derived_architecture(space: SearchSpace, genotype: Genotype) -> Architecture:
    """A genotype as a path through the supernet: its edges at weight 1, no others.

    Args:
      space: of the supernet, as the method adapted it.
      genotype: of that space.

    Raises:
      ValueError: an edge or an operation that the space does not have.
    """
    cells = {}
    for name in space.cell_types:
        operation = np.zeros(space.num_edges, np.int32)
        active = np.zeros(space.num_edges, bool)
        for kept, edge in kept_edges(genotype, name):
            if edge not in space.edges or kept not in space.primitives:
                raise ValueError(
                    f"{kept} on edge {edge[1]}←{edge[0]} is not of {space.name} with "
                    f"{', '.join(space.primitives)}"
                )
            place = space.edges.index(edge)
            operation[place] = space.primitives.index(kept)
            active[place] = True
        weight = jnp.ones(space.num_edges)
        cells[name] = Path(jnp.asarray(operation), weight, jnp.asarray(active))
    return cells


def count(weights: Tree) -> int:
    """How many numbers a tree of arrays (or of their shapes) holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(weights))


# --- parts of every skeleton ----------------------------------------------------


def enter(images: Array, dtype: Any) -> Array:
    """``[B, H, W, c]`` images to ``[c, H, W, B]`` activations."""
    chex.assert_rank(images, 4)
    return jnp.transpose(images, (3, 1, 2, 0)).astype(dtype)


def stem_template(image_channels: int, channels: int) -> dict[str, Tree]:
    """3×3 convolution and its affine BN."""
    return {
        "kernel": ops.kernel(channels, image_channels, 3, 3),
        **affine_template(channels),
    }


def affine_template(channels: int) -> dict[str, Tree]:
    """Scale and offset of a batch normalisation."""
    return {
        "scale": ops.Constant((channels,), 1.0),
        "offset": ops.Constant((channels,), 0.0),
    }


def apply_stem(
    weights: Mapping[str, Array],
    x: Array,
    *,
    stride: int = 1,
    context: ops.Context = ops.PLAIN,
) -> Array:
    """3×3 convolution, batch normalisation with scale and offset."""
    x = context.batch_norm(layers.convolution(x, weights["kernel"], stride=stride))
    return layers.affine(x, weights["scale"], weights["offset"])


def head_template(channels: int, num_classes: int) -> dict[str, Tree]:
    """The linear classifier."""
    return {
        "kernel": ops.kernel(num_classes, channels),
        "bias": ops.Kernel((num_classes,), channels),
    }


def apply_head(weights: Mapping[str, Array], x: Array) -> Array:
    """Global average pool and linear: ``[C, H, W, B]`` to float32 ``[B, Y]``."""
    pooled = x.astype(jnp.float32).mean(axis=(1, 2))  # [C, B]
    logits = jnp.einsum("yc,cb->by", weights["kernel"], pooled)
    return logits + weights["bias"][None]


def every_operation(macs: list[list[int]]) -> float:
    """Cost of a mixture: all operations of all edges (`Supernet.macs`)."""
    return float(sum(map(sum, macs)))


def costliest_operation(macs: list[list[int]]) -> float:
    """Upper bound of a path: the dearest operation of every edge."""
    return float(sum(map(max, macs)))


def cell_macs(
    space: SearchSpace, *, channels: int, height: int, width: int, reduction: bool
) -> list[list[int]]:
    """``[E][O]`` multiply-accumulates in a cell whose output is height × width."""
    return [
        [
            op.macs(
                channels // space.channel_divisor,
                height,
                width,
                2 if reduction and source < space.num_inputs else 1,
            )
            for op in space.operations
        ]
        for source, _ in space.edges
    ]
