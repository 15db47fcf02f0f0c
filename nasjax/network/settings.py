"""What a discrete network is made from: its settings, and what they must be."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array, InputError, Tree
from nasjax.genotype import Genotype
from nasjax.layers import Context, Size
from nasjax.spaces import Plan, SearchSpace, Sizes

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


class NetworkSizes(TypedDict):
    """Sizes of a network, keyword arguments of most functions here: see `Settings`."""

    dataset: str
    channels: int
    num_cells: int
    num_classes: int


class Settings(NamedTuple):
    """Which network: all that its arrays' shapes depend on.

    Attributes:
      genotype: of a space of `spaces.SPACES`.
      dataset: a name of `DATASETS`; decides the stem and the auxiliary head:
        "cifar10" or "cifar100" (one 3×3 convolution, for any small images), "imagenet"
        (three, 224 pixels to 28) or, as NAS-Bench-201 names its reduced ImageNet,
        "imagenet16-120".
      channels: C of the first cells.
      num_cells: L, or of a space of stages the cells per stage, N.
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

    @property
    def stem(self) -> str:
        """Which of `spaces.STEMS` the network has."""
        return "imagenet" if DATASETS[self.dataset].imagenet else "cifar"


class Outputs(NamedTuple):
    """What a pass returns.

    Attributes:
      logits: ``[B, Y]``.
      auxiliary: ``[B, Y]`` of the auxiliary head, if it was run.
      stats: new statistics of every batch normalisation (`layers.normalise`), in the
        structure of ``batch_stats``.
    """

    logits: Array
    auxiliary: Array | None
    stats: Tree


class Pass(NamedTuple):
    """How a pass over the network is computed.

    Attributes:
      context: of its layers.
      dtype: of the activations; parameters, statistics and logits are float32.
      remat: whether a cell is computed again in the backward pass, instead of
        keeping its activations.
      loop: whether equal cells are one loop, not unrolled.
    """

    context: Context = Context()
    dtype: Any = jnp.float32
    remat: bool = False
    loop: bool = False


def make_plan(
    settings: Settings, space: SearchSpace, joined: Callable[[str], int]
) -> Plan:
    """The plan of a network.

    Args:
      settings: which network.
      space: of its genotype.
      joined: how many states a cell of a type concatenates.

    Raises:
      InputError: an unknown data set, a size below 1, a stem or an auxiliary head that
        the space does not have, or odd channels for ImageNet's stem.
    """
    if settings.dataset not in DATASETS:
        raise InputError(
            f"dataset {settings.dataset!r} is not one of {', '.join(DATASETS)}"
        )
    for name in ("channels", "num_cells", "num_classes", "image_channels"):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}; it is an integer of at least 1")
    if settings.stem not in space.stems:
        small = [name for name, one in DATASETS.items() if not one.imagenet]
        raise InputError(
            f"the space {space.name} has no network for dataset {settings.dataset!r}; "
            f"it has one for {', '.join(small)}"
        )
    plan = space.plan(
        Sizes(
            settings.channels,
            settings.num_cells,
            settings.num_classes,
            settings.image_channels,
            settings.stem,
        ),
        joined,
    )
    if settings.auxiliary and plan.auxiliary_after is None:
        raise InputError(
            f"a network of the space {space.name} has no auxiliary head; "
            "train.auxiliary_weight=0 trains without one"
        )
    return plan


def check_variables(variables: Tree, templates: dict[str, Tree]) -> None:
    """Refuse variables of another network than those of `COLLECTIONS` in templates.

    Raises:
      InputError: an entry that is missing, not known or of another shape.
    """
    missing = [name for name in COLLECTIONS if name not in variables]
    if missing:
        raise InputError(f"variables are {' and '.join(COLLECTIONS)}; no {missing[0]}")
    wanted = _shapes(templates)
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
    return Pass(context, layers.check_arithmetic(dtype, context), remat, loop)


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """Shape of every leaf by its path; lists and tuples are alike."""
    leaves = jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda leaf: hasattr(leaf, "shape")
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in leaves
    }
