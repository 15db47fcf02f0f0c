"""The functions of a discrete network: init, apply, train_apply, cost."""

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array, InputError, Key, Tree
from nasjax.genotype import Genotype
from nasjax.layers import Context
from nasjax.network import body
from nasjax.network.settings import (
    COLLECTIONS,
    DATASETS,
    NetworkSizes,
    Pass,
    Settings,
    check_images,
    check_variables,
    make_pass,
)
from nasjax.spaces import SearchSpace, space_of


class TrainOutput(NamedTuple):
    """What a training pass returns.

    Attributes:
      logits: ``[B, Y]`` float32.
      auxiliary: ``[B, Y]`` float32 of the auxiliary head; None without one.
      batch_stats: running averages after this batch, for the next pass.
    """

    logits: Array
    auxiliary: Array | None
    batch_stats: Tree


class Cost(NamedTuple):
    """Size of a network.

    Attributes:
      params: numbers to be trained.
      macs: multiply-accumulates of one image.
    """

    params: int
    macs: int


def skeleton(settings: Settings) -> body.Skeleton:
    """The network of some settings as pure functions.

    Raises:
      InputError: settings that no network can be built from.
    """
    return _skeleton(settings, space_of(settings.genotype))


@lru_cache(maxsize=32)
def _skeleton(settings: Settings, space: SearchSpace) -> body.Skeleton:
    return body.build(settings, space)


def init(
    key: Key,
    genotype: Genotype,
    *,
    auxiliary: bool = False,
    image_channels: int = 3,
    **sizes: Unpack[NetworkSizes],
) -> dict[str, Tree]:
    """Variables of a network at its start.

    Kernels are uniform within ``1/sqrt(fan in)``, PyTorch's start, on which the
    published settings were tuned; running means are 0, running variances 1.

    Args:
      key: consumed.
      genotype: of a space of `spaces.SPACES`.
      auxiliary: add an auxiliary head, which training reads after cell 2L//3.
      image_channels: of an image.
      **sizes: dataset, channels, num_cells and num_classes of `skeleton.Settings`.

    Returns:
      ``{"params": …, "batch_stats": …}``, trees of float32 arrays.

    Raises:
      InputError: a genotype, data set or size that makes no network.

    >>> from nasjax import genotypes
    >>> small = dict(dataset="cifar10", channels=4, num_cells=3, num_classes=10)
    >>> variables = init(jax.random.key(0), genotypes.DARTS_V2, **small)
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    2858
    >>> images = jnp.zeros((2, 32, 32, 3))
    >>> apply(variables, images, genotypes.DARTS_V2, **small).shape
    (2, 10)
    """
    parts = skeleton(
        Settings(genotype, **sizes, auxiliary=auxiliary, image_channels=image_channels)
    )
    return {
        "params": layers.draw(key, parts.templates["params"]),
        "batch_stats": running_start(parts.templates["batch_stats"]),
    }


def apply(
    variables: Tree,
    images: Array,
    genotype: Genotype,
    *,
    dtype: Any = jnp.float32,
    depthwise: str = "auto",
    **sizes: Unpack[NetworkSizes],
) -> Array:
    """Classify images, batch normalisation by the running averages.

    Args:
      variables: of `init`; an auxiliary head in them is not run.
      images: ``[B, H, W, c]`` float32, normalised as in training.
      genotype: as `init` was given.
      dtype: of the activations, float32 or bfloat16.
      depthwise: form of the depthwise convolution (`layers.depthwise`).
      **sizes: as `init` was given.

    Returns:
      Logits ``[B, Y]``, float32.

    Raises:
      InputError: variables or images of another network, an unknown dtype.
    """
    settings = settings_of(variables, genotype, **sizes)
    how = make_pass(Context(depthwise=depthwise, train=False), dtype=dtype)
    check_images(images, settings)
    return _evaluate(_collections(variables), images, settings=settings, how=how)


def train_apply(
    variables: Tree,
    images: Array,
    genotype: Genotype,
    *,
    key: Key | None = None,
    drop_path_rate: Array | float = 0.0,
    dtype: Any = jnp.float32,
    depthwise: str = "auto",
    remat: bool = False,
    loop: bool = False,
    axis_name: str | None = None,
    **sizes: Unpack[NetworkSizes],
) -> TrainOutput:
    """Classify images in training: statistics of the batch, drop path, auxiliary head.

    Drop path zeroes, for each example on its own, the output of an edge's operation
    with probability ``drop_path_rate`` and divides what is kept by the probability
    of being kept; identities are never dropped (Larsson et al., arXiv 1605.07648, as
    the DARTS code has it).

    Args:
      variables: of `init`; an auxiliary head in them is run.
      images: ``[B, H, W, c]`` float32.
      genotype: as `init` was given.
      key: for drop path, consumed; of each device its own. Or keys ``[B]``, one of
        each example, whose draws then do not depend on the others. None drops
        nothing.
      drop_path_rate: in [0, 1]; may be traced.
      dtype: of the activations, float32 or bfloat16; parameters, statistics and logits
        are float32.
      depthwise: form of the depthwise convolution (`layers.depthwise`).
      remat: compute a cell again in the backward pass instead of keeping its
        activations (on a CPU only with ``loop``: else its compiler merges the two).
      loop: run the equal cells of a stage as one loop, which compiles faster and
        runs slower than one after the other.
      axis_name: of the devices whose batches are normalised as one; None for each
        its own.
      **sizes: as `init` was given.

    Returns:
      Logits of both heads and the running averages.

    Raises:
      InputError: variables or images of another network, an unknown dtype, a rate
        without a key, images that the auxiliary head does not fit.
    """
    settings = settings_of(variables, genotype, **sizes)
    context = Context(depthwise, axis_name)
    how = make_pass(context, dtype=dtype, remat=remat, loop=loop)
    check_images(images, settings)
    if is_zero(drop_path_rate):
        key = None
    elif key is None:
        raise InputError(f"drop_path_rate is {drop_path_rate}; it needs a key")
    return _train(
        _collections(variables),
        images,
        key,
        jnp.asarray(drop_path_rate, jnp.float32),
        settings=settings,
        how=how,
    )


def cost(
    genotype: Genotype,
    *,
    dataset: str = "cifar10",
    channels: int,
    num_cells: int,
    auxiliary: bool = False,
    num_classes: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> Cost:
    """Parameters and multiply-accumulates, counted without building any array.

    Every tap of a convolution counts, padding included, and the linear layer once;
    batch normalisation, pooling and sums do not.

    Args:
      genotype: of a space of `spaces.SPACES`.
      dataset: as for `init`; decides classes and image where they are not given.
      channels: C of the first cells.
      num_cells: L; of a space of stages the cells per stage, N.
      auxiliary: count the auxiliary head as well, which only training runs; the
        papers' figures are without it.
      num_classes: Y; None for the data set's.
      image_shape: ``(H, W, channels)``; None for the data set's.

    Raises:
      InputError: a genotype, data set or size that makes no network, or images that
        the auxiliary head does not fit.

    >>> from nasjax import genotypes
    >>> cost(genotypes.DARTS_V2, channels=36, num_cells=20)
    Cost(params=3349342, macs=528359040)
    """
    if num_classes is None and dataset in DATASETS:
        num_classes = DATASETS[dataset].num_classes
    settings = Settings(
        genotype,
        dataset,
        channels,
        num_cells,
        1 if num_classes is None else num_classes,
        auxiliary,
        3 if image_shape is None else image_shape[2],
    )
    parts = skeleton(settings)
    size = DATASETS[dataset].size if image_shape is None else image_shape[:2]
    templates = jax.tree.leaves(parts.templates["params"], is_leaf=layers.is_template)
    params = sum(math.prod(template.shape) for template in templates)
    return Cost(params, parts.macs((size[0], size[1])))


# --- parts of the above ---------------------------------------------------------


def running_start(template: Tree) -> Tree:
    """Running statistics before the first batch: means 0, variances 1."""
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, leaf.value, jnp.float32),
        template,
        is_leaf=layers.is_template,
    )


def is_zero(rate: Array | float) -> bool:
    """Whether a rate is known to be 0 before anything is computed."""
    return isinstance(rate, int | float) and rate == 0


def _collections(variables: Tree) -> dict[str, Tree]:
    return {name: variables[name] for name in COLLECTIONS}


@partial(jax.jit, static_argnames=("settings", "how"))
def _evaluate(
    variables: Tree, images: Array, *, settings: Settings, how: Pass
) -> Array:
    return skeleton(settings).forward(variables, images, None, how).logits


@partial(jax.jit, static_argnames=("settings", "how"))
def _train(
    variables: Tree,
    images: Array,
    key: Key | None,
    rate: Array,
    *,
    settings: Settings,
    how: Pass,
) -> TrainOutput:
    parts = skeleton(settings)
    keep = None
    if key is not None:
        keep = _keep(key, rate, (*parts.edges, images.shape[0]))
    outputs = parts.forward(variables, images, keep, how)
    stats = layers.update_running(variables["batch_stats"], outputs.stats)
    return TrainOutput(outputs.logits, outputs.auxiliary, stats)


def _keep(key: Key, rate: Array, shape: tuple[int, ...]) -> Array:
    """`drop_path` of a whole batch from one key, or from one of each example."""
    if not key.ndim:
        return drop_path(key, rate, shape=shape)
    return jax.vmap(partial(drop_path, rate=rate, shape=shape[:-1]), out_axes=-1)(key)


def drop_path(key: Key, rate: Array, *, shape: tuple[int, ...]) -> Array:
    """Factors of what drop path keeps: 0, or one over the probability of keeping.

    Args:
      key: consumed.
      rate: probability of 0.
      shape: of the factors.

    Returns:
      float32 of ``shape``, of mean 1 (0 at a rate of 1).
    """
    kept = jax.random.uniform(key, shape) >= rate
    # At a rate of 1 nothing is kept, whatever it is divided by.
    return kept.astype(jnp.float32) / jnp.maximum(1.0 - rate, 1e-6)


def settings_of(
    variables: Tree, genotype: Genotype, **sizes: Unpack[NetworkSizes]
) -> Settings:
    """Settings that fit the variables; what the sizes do not say, they do.

    Raises:
      InputError: variables of another network.
    """
    try:
        params = variables["params"]
        image_channels = int(params["stem"][0]["kernel"].shape[1])
    except (KeyError, TypeError, IndexError, AttributeError):
        raise InputError(
            "variables are not those of a network: a tree of params and batch_stats"
        ) from None
    settings = Settings(
        genotype,
        **sizes,
        auxiliary="auxiliary" in params,
        image_channels=image_channels,
    )
    check_variables(variables, skeleton(settings).templates)
    return settings
