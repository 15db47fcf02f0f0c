"""The functions of a discrete network: init, apply, train_apply, cost."""

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import ops
from nasjax.base import Array, InputError, Key, Tree
from nasjax.genotype import Genotype
from nasjax.network import darts, nasbench201, norm
from nasjax.network.skeleton import (
    COLLECTIONS,
    DATASETS,
    Pass,
    Settings,
    Skeleton,
    check_images,
    check_settings,
    check_variables,
    make_pass,
)
from nasjax.network.units import Context


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


@lru_cache(maxsize=32)
def skeleton(settings: Settings) -> Skeleton:
    """The network of some settings as pure functions.

    Raises:
      InputError: settings that no network can be built from.
    """
    check_settings(settings)
    build = nasbench201.build if settings.genotype.arch_str else darts.build
    return build(settings)


def init(
    key: Key,
    genotype: Genotype,
    *,
    dataset: str,
    channels: int,
    num_cells: int,
    num_classes: int,
    auxiliary: bool = False,
    image_channels: int = 3,
) -> dict[str, Tree]:
    """Variables of a network at its start.

    Kernels are uniform within ``1/sqrt(fan in)``, PyTorch's start, on which the
    published settings were tuned; running means are 0, running variances 1.

    Args:
      key: consumed.
      genotype: of the DARTS family or of NAS-Bench-201.
      dataset: "cifar10" or "cifar100" (one 3×3 stem, for any small images),
        "imagenet" (two stems, 224 pixels to 28) or, as NAS-Bench-201 names its
        reduced ImageNet, "imagenet16-120".
      channels: C of the first cells.
      num_cells: L; for NAS-Bench-201 the cells a stage, N.
      num_classes: Y.
      auxiliary: add an auxiliary head, which training reads after cell 2L//3.
      image_channels: of an image.

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
        Settings(
            genotype,
            dataset,
            channels,
            num_cells,
            num_classes,
            auxiliary,
            image_channels,
        )
    )
    return {
        "params": ops.draw(key, parts.params),
        "batch_stats": running_start(parts.stats),
    }


def apply(
    variables: Tree,
    images: Array,
    genotype: Genotype,
    *,
    dataset: str,
    channels: int,
    num_cells: int,
    num_classes: int,
    dtype: Any = jnp.float32,
    depthwise: str = "auto",
) -> Array:
    """Classify images, batch normalisation by the running averages.

    Args:
      variables: of `init`; an auxiliary head in them is not run.
      images: ``[B, H, W, c]`` float32, normalised as in training.
      genotype: as for `init`, and all else that `init` was given.
      dataset: likewise.
      channels: likewise.
      num_cells: likewise.
      num_classes: likewise.
      dtype: of the activations, float32 or bfloat16.
      depthwise: form of the depthwise convolution (`primitives.depthwise`).

    Returns:
      Logits ``[B, Y]``, float32.

    Raises:
      InputError: variables or images of another network, an unknown dtype.
    """
    settings = settings_of(
        variables,
        genotype,
        dataset=dataset,
        channels=channels,
        num_cells=num_cells,
        num_classes=num_classes,
    )
    how = make_pass(Context(depthwise=depthwise), dtype=dtype)
    check_images(images, settings)
    return _evaluate(_collections(variables), images, settings=settings, how=how)


def train_apply(
    variables: Tree,
    images: Array,
    genotype: Genotype,
    *,
    dataset: str,
    channels: int,
    num_cells: int,
    num_classes: int,
    key: Key | None = None,
    drop_path_rate: Array | float = 0.0,
    dtype: Any = jnp.float32,
    depthwise: str = "auto",
    remat: bool = False,
    loop: bool = False,
    axis_name: str | None = None,
) -> TrainOutput:
    """Classify images in training: batch moments, drop path, auxiliary head.

    Drop path zeroes, for each example on its own, the output of an edge's operation
    with probability ``drop_path_rate`` and divides what is kept by the probability
    of being kept; identities are never dropped (Larsson et al., arXiv 1605.07648, as
    the DARTS code has it).

    Args:
      variables: of `init`; an auxiliary head in them is run.
      images: ``[B, H, W, c]`` float32.
      genotype: as for `init`, and all else that `init` was given.
      dataset: likewise.
      channels: likewise.
      num_cells: likewise.
      num_classes: likewise.
      key: for drop path, consumed; of each device its own. Or keys ``[B]``, one of
        each example, whose draws then do not depend on the others. None drops
        nothing.
      drop_path_rate: in [0, 1]; may be traced.
      dtype: of the activations, float32 or bfloat16; parameters, moments and logits
        are float32.
      depthwise: form of the depthwise convolution (`primitives.depthwise`).
      remat: compute a cell again in the backward pass instead of keeping its
        activations (on a CPU only with ``loop``: else its compiler merges the two).
      loop: run the equal cells of a stage as one loop, which compiles faster and
        runs slower than one after the other.
      axis_name: of the devices whose batches are normalised as one; None for each
        its own.

    Returns:
      Logits of both heads and the running averages.

    Raises:
      InputError: variables or images of another network, an unknown dtype, a rate
        without a key, images that the auxiliary head does not fit.
    """
    settings = settings_of(
        variables,
        genotype,
        dataset=dataset,
        channels=channels,
        num_cells=num_cells,
        num_classes=num_classes,
    )
    context = Context(train=True, axis_name=axis_name, depthwise=depthwise)
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
      genotype: of the DARTS family or of NAS-Bench-201.
      dataset: as for `init`; decides classes and image where they are not given.
      channels: C of the first cells.
      num_cells: L; for NAS-Bench-201 the cells a stage, N.
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
    templates = jax.tree.leaves(parts.params, is_leaf=is_template)
    params = sum(math.prod(template.shape) for template in templates)
    return Cost(params, parts.macs((size[0], size[1])))


# --- parts of the above ---------------------------------------------------------


def is_template(leaf: Any) -> bool:
    """Whether a leaf is a weight yet to be drawn."""
    return isinstance(leaf, ops.Kernel | ops.Constant)


def running_start(template: Tree) -> Tree:
    """Running moments before the first batch: means 0, variances 1."""
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, leaf.value, jnp.float32),
        template,
        is_leaf=is_template,
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
    stats = norm.update(variables["batch_stats"], outputs.moments)
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


def settings_of(variables: Tree, genotype: Genotype, **sizes: Any) -> Settings:
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
    check_variables(variables, skeleton(settings))
    return settings
