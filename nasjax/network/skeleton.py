"""What a discrete network is made from: settings, and its parts as functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array, InputError, Tree
from nasjax.genotype import Genotype
from nasjax.network.units import Context, Size

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
#: The two trees of a network's variables.
COLLECTIONS = ("params", "batch_stats")


class Dataset(NamedTuple):
    """What a data set decides.

    Attributes:
      size: height and width of its images, the counts' size.
      num_classes: Y.
      imagenet: two stems that bring 224 pixels to 28, and the auxiliary head for it;
        else one 3×3 convolution.
    """

    size: Size
    num_classes: int
    imagenet: bool = False


DATASETS = {
    "cifar10": Dataset((32, 32), 10),
    "cifar100": Dataset((32, 32), 100),
    "imagenet": Dataset((224, 224), 1000, imagenet=True),
    "imagenet16-120": Dataset((16, 16), 120),
}


class Settings(NamedTuple):
    """Which network: all that its arrays' shapes depend on.

    Attributes:
      genotype: of the DARTS family or of NAS-Bench-201.
      dataset: a name of `DATASETS`; decides the stem and the auxiliary head.
      channels: C of the first cells.
      num_cells: L, or for NAS-Bench-201 the cells a stage, N.
      num_classes: Y.
      auxiliary: whether it has an auxiliary head.
      image_channels: of an image.
    """

    genotype: Genotype
    dataset: str
    channels: int
    num_cells: int
    num_classes: int
    auxiliary: bool = False
    image_channels: int = 3


class Outputs(NamedTuple):
    """What a pass returns.

    Attributes:
      logits: ``[B, Y]``.
      auxiliary: ``[B, Y]`` of the auxiliary head, if it was run.
      moments: that every batch normalisation used, in the structure of
        ``batch_stats``.
    """

    logits: Array
    auxiliary: Array | None
    moments: Tree


class Skeleton(NamedTuple):
    """A network as pure functions.

    Attributes:
      params: template of the parameters, to be drawn by `ops.draw`.
      stats: template of the running moments.
      edges: ``(cells, edges of a cell)`` that drop path draws for.
      forward: ``(variables, images [B, H, W, c], keep [cells, edges, B] or None,
        Pass) -> Outputs``.
      macs: ``size of an image -> int``, multiply-accumulates of one image, those of
        an auxiliary head, which only training runs, among them.
    """

    params: Tree
    stats: Tree
    edges: tuple[int, int]
    forward: Callable[..., Outputs]
    macs: Callable[[Size], int]


class Pass(NamedTuple):
    """How a pass over the network is computed.

    Attributes:
      context: of its layers.
      dtype: of the activations; parameters, moments and logits are float32.
      remat: whether a cell is computed again in the backward pass, instead of
        keeping its activations.
      loop: whether equal cells are one loop, not unrolled.
    """

    context: Context = Context()
    dtype: Any = jnp.float32
    remat: bool = False
    loop: bool = False


def check_settings(settings: Settings) -> None:
    """Refuse what no network can be built from.

    Raises:
      InputError: an unknown data set, a size below 1, a data set or an auxiliary
        head that NAS-Bench-201 has none for, or odd channels for ImageNet's stem.
    """
    if settings.dataset not in DATASETS:
        raise InputError(
            f"dataset {settings.dataset!r} is not one of {', '.join(DATASETS)}"
        )
    for name in ("channels", "num_cells", "num_classes", "image_channels"):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}; it is an integer of at least 1")
    imagenet = DATASETS[settings.dataset].imagenet
    if settings.genotype.arch_str and imagenet:
        raise InputError(
            "NAS-Bench-201 has no network for dataset 'imagenet'; it has one for "
            "cifar10, cifar100 and imagenet16-120"
        )
    if settings.genotype.arch_str and settings.auxiliary:
        raise InputError(
            "a network of NAS-Bench-201 has no auxiliary head; "
            "train.auxiliary_weight=0 trains without one"
        )
    if imagenet and settings.channels % 2:
        raise InputError(
            f"channels is {settings.channels}; ImageNet's stem halves it, so it is even"
        )


def check_variables(variables: Tree, skeleton: Skeleton) -> None:
    """Refuse variables of another network.

    Raises:
      InputError: an entry that is missing, not known or of another shape.
    """
    missing = [name for name in COLLECTIONS if name not in variables]
    if missing:
        raise InputError(f"variables are {' and '.join(COLLECTIONS)}; no {missing[0]}")
    wanted = _shapes({"params": skeleton.params, "batch_stats": skeleton.stats})
    given = _shapes({name: variables[name] for name in COLLECTIONS})
    for name in wanted | given:
        if name not in given:
            raise InputError(f"variables have no {name}, which this network needs")
        if name not in wanted:
            raise InputError(f"variables have {name}, which this network has not")
        if given[name] != wanted[name]:
            raise InputError(
                f"variables have {name} of shape {given[name]}, this network needs "
                f"{wanted[name]}"
            )


def check_images(images: Array, settings: Settings) -> None:
    """Refuse images that the network does not read.

    Raises:
      InputError: another rank, another number of channels, or no pixel.
    """
    shape = jnp.shape(images)
    if len(shape) != 4 or shape[3] != settings.image_channels or 0 in shape[1:3]:
        raise InputError(
            f"images are {list(shape)}; this network reads "
            f"[B, H, W, {settings.image_channels}]"
        )


def make_pass(
    context: Context, *, dtype: Any, remat: bool = False, loop: bool = True
) -> Pass:
    """How to compute a pass.

    Raises:
      InputError: an unknown dtype or form of the depthwise convolution.
    """
    name = dtype if isinstance(dtype, str) else jnp.dtype(dtype).name
    if name not in _DTYPES:
        raise InputError(f"dtype {name!r} is not one of {', '.join(_DTYPES)}")
    if context.depthwise not in layers.DEPTHWISE_FORMS:
        raise InputError(
            f"depthwise {context.depthwise!r} is not one of "
            f"{', '.join(layers.DEPTHWISE_FORMS)}"
        )
    return Pass(context, jnp.dtype(_DTYPES[name]), remat, loop)


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """Shape of every leaf by its path; lists and tuples are alike."""
    leaves = jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda leaf: hasattr(leaf, "shape")
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in leaves
    }
