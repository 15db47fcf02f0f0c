"""Candidate operations: each one record of all that a space needs to know of it.

A record has its form in the supernet, its form in a discrete network, its cost and its
names in PyTorch. Most follow from the units it is made of (`layers.units`), so that an
operation of your own is one entry:

>>> from nasjax.layers import separable
>>> SEP_CONV_9X9 = chain("sep_conv_9x9", separable(9), separable(9))
>>> SEP_CONV_9X9.shapes(16, 1)["depthwise1"], SEP_CONV_9X9.macs(16, (8, 8), 1)
((16, 9, 9), 198656)

An operation maps ``[C, H, W, B]`` to ``[C, ceil(H/s), ceil(W/s), B]`` for a stride
``s`` of 1 or 2. In a supernet batch normalisation has no scale and no offset, as in
every supernet of the DARTS family.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from nasjax import layers
from nasjax.base import Array, InputError, Tree
from nasjax.layers import Context, Shapes, Size, Unit

#: What an operation without weights computes, ``(x, stride=...) -> y``.
Plain = Callable[..., Array]


class Form(NamedTuple):
    """What an operation is made of, for an engine that runs those of several edges.

    Attributes:
      kind: "identity" (a factorized reduce at stride 2), "max_pool", "avg_pool" (3×3),
        "dense" (`layers.dense`) or "separable" (`layers.separable`, once or twice).
      dilation: of depthwise convolutions.
      normalised: whether batch normalisation follows a pool.
      dropped: whether `Operation.apply` drops a part of the output at stride 1, where
        the context says so.
    """

    kind: str
    dilation: int = 1
    normalised: bool = True
    dropped: bool = False


class Operation(NamedTuple):
    """A candidate operation.

    Attributes:
      name: the field's name of it, unique within a space.
      shapes: ``(channels, stride) -> {name: shape}`` of its weights in a supernet,
        kernels whose first axis is the output's; empty when it has none.
      apply: ``(weights, x, stride, context) -> y`` in a supernet.
      macs: ``(channels, size, stride) -> int``, multiply-accumulates of one image;
        ``size`` is the height and width of the input.
      is_zero: whether the output is zero whatever the input. Such an operation
        competes in a relaxation, is never evaluated, and is never derived where
        the space says so.
      before_norm: ``apply`` without the batch normalisation that ends it, where one
        does: a backward pass that knows the output then need not compute it again.
        It may be left out; who replaces ``apply`` replaces it too, or sets it to None.
      units: ``stride ->`` the units it is a chain of in a discrete network, the stride
        in the first; empty when it has no weights there. None for an operation that
        discrete networks do not have.
      plain: what it computes there without weights; None for the input itself.
      module: PyTorch's name of the module that holds its layers; empty for none.
      form: what it is made of; None for an operation that only ``apply`` knows, which
        the batched engine runs edge by edge. Who replaces ``apply`` replaces it too.
    """

    name: str
    shapes: Callable[[int, int], Shapes]
    apply: Callable[[Tree, Array, int, Context], Array]
    macs: Callable[[int, Size, int], int]
    is_zero: bool = False
    before_norm: Callable[[Tree, Array, int, Context], Array] | None = None
    units: Callable[[int], tuple[Unit, ...]] | None = None
    plain: Plain | None = None
    module: str = "op"
    form: Form | None = None

    def chain(self, stride: int) -> tuple[Unit, ...]:
        """Its units in a discrete network.

        Raises:
          InputError: an operation that discrete networks do not have.
        """
        if self.units is None:
            raise InputError(
                f"operation {self.name!r} has no form in a discrete network: its units "
                "are None"
            )
        return self.units(stride)

    def is_identity(self, stride: int) -> bool:
        """Whether a discrete network hands the input on, which is never dropped."""
        return self.plain is None and not self.chain(stride)


def chain(
    name: str, *units: Unit, module: str = "op", form: Form | None = None
) -> Operation:
    """An operation that is a chain of units.

    Args:
      name: of the operation.
      *units: one after the other, the stride in the first.
      module: see `Operation`.
      form: likewise.
    """
    return _of_units(name, units, module=module)._replace(form=form)


def plain(
    name: str,
    run: Plain,
    *,
    normalised: bool = False,
    is_zero: bool = False,
    kind: str = "",
) -> Operation:
    """An operation without weights.

    Args:
      name: of the operation.
      run: ``(x, stride=...) -> y``.
      normalised: whether batch normalisation follows it in the supernet, as after the
        pooling of the DARTS space; in a discrete network none does.
      is_zero: see `Operation`.
      kind: of its `Form`; empty for none.
    """

    def before_norm(weights: Tree, x: Array, stride: int, context: Context) -> Array:
        del weights, context
        return run(x, stride=stride)

    return Operation(
        name,
        lambda channels, stride: {},
        _normalised(before_norm) if normalised else before_norm,
        lambda channels, size, stride: 0,
        is_zero,
        before_norm if normalised else None,
        units=lambda stride: (),
        plain=run,
        form=Form(kind, normalised=normalised) if kind else None,
    )


def _normalised(before_norm: Callable[..., Array]) -> Callable[..., Array]:
    def apply(weights: Tree, x: Array, stride: int, context: Context) -> Array:
        return context.batch_norm(before_norm(weights, x, stride, context))

    return apply


def _numbered(units: tuple[Unit, ...]) -> list[dict[str, str]]:
    """For each unit, its kernels' names -> their names in a supernet's operation."""
    names = [list(unit.shapes(2, 2)) for unit in units]
    if len(units) == 1 and "depthwise" not in names[0]:
        return [{name: name for name in names[0]}]
    return [{one: f"{one}{i}" for one in own} for i, own in enumerate(names, start=1)]


def _of_units(name: str, units: tuple[Unit, ...], *, module: str) -> Operation:
    """An operation whose form in a supernet is that of its units, without affine."""
    numbered = _numbered(units)

    def shapes(channels: int, stride: int) -> Shapes:
        del stride
        return {
            names[kernel]: shape
            for unit, names in zip(units, numbered, strict=True)
            for kernel, shape in unit.shapes(channels, channels).items()
        }

    def before_norm(weights: Tree, x: Array, stride: int, context: Context) -> Array:
        for place, (unit, names) in enumerate(zip(units, numbered, strict=True)):
            if place:
                x, stride = context.batch_norm(x), 1  # only the first is strided
            own = {kernel: weights[name] for kernel, name in names.items()}
            x = unit.apply(own, layers.relu(x), stride, context)
        return x

    def macs(channels: int, size: Size, stride: int) -> int:
        total = 0
        for unit in units:
            total += unit.macs(channels, channels, size, stride)
            size, stride = layers.strided(size, stride), 1
        return total

    return Operation(
        name,
        shapes,
        _normalised(before_norm),
        macs,
        before_norm=before_norm,
        units=lambda stride: units,
        module=module,
    )


def _skip_connect() -> Operation:
    """The input itself, or where it is to be halved a factorized reduce."""
    reduce = chain("skip_connect", layers.FACTORIZED_REDUCE, module="")

    def apply(weights: Tree, x: Array, stride: int, context: Context) -> Array:
        return x if stride == 1 else reduce.apply(weights, x, stride, context)

    return reduce._replace(
        shapes=lambda channels, stride: (
            reduce.shapes(channels, 2) if stride > 1 else {}
        ),
        apply=apply,
        macs=lambda channels, size, stride: (
            reduce.macs(channels, size, stride) if stride > 1 else 0
        ),
        before_norm=None,
        units=lambda stride: () if stride == 1 else (layers.FACTORIZED_REDUCE,),
        form=Form("identity"),
    )


def _zero(x: Array, *, stride: int) -> Array:
    return jnp.zeros_like(x[:, ::stride, ::stride])


_SEPARABLE, _DILATED, _DENSE = Form("separable"), Form("separable", 2), Form("dense")

NONE = plain("none", _zero, is_zero=True)
SKIP_CONNECT = _skip_connect()
MAX_POOL_3X3 = plain(
    "max_pool_3x3", layers.max_pool_3x3, normalised=True, kind="max_pool"
)
#: Average pooling of the DARTS space: followed by batch normalisation.
AVG_POOL_3X3 = plain(
    "avg_pool_3x3", layers.avg_pool_3x3, normalised=True, kind="avg_pool"
)
#: Average pooling of NAS-Bench-201: nothing follows it.
PLAIN_AVG_POOL_3X3 = plain("avg_pool_3x3", layers.avg_pool_3x3, kind="avg_pool")
SEP_CONV_3X3 = chain(
    "sep_conv_3x3", layers.separable(3), layers.separable(3), form=Form("separable")
)
SEP_CONV_5X5 = chain(
    "sep_conv_5x5", layers.separable(5), layers.separable(5), form=Form("separable")
)
SEP_CONV_7X7 = chain(
    "sep_conv_7x7", layers.separable(7), layers.separable(7), form=Form("separable")
)
DIL_CONV_3X3 = chain(
    "dil_conv_3x3", layers.separable(3, dilation=2), form=Form("separable", 2)
)
DIL_CONV_5X5 = chain(
    "dil_conv_5x5", layers.separable(5, dilation=2), form=Form("separable", 2)
)
CONV_7X1_1X7 = chain("conv_7x1_1x7", layers.asymmetric(7), module="")
NOR_CONV_1X1 = chain("nor_conv_1x1", layers.dense(1), form=_DENSE)
NOR_CONV_3X3 = chain("nor_conv_3x3", layers.dense(3), form=_DENSE)

#: What an edge of a genotype may run, by name, beside its space's own candidates.
OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        NONE,
        SKIP_CONNECT,
        MAX_POOL_3X3,
        AVG_POOL_3X3,
        SEP_CONV_3X3,
        SEP_CONV_5X5,
        SEP_CONV_7X7,
        DIL_CONV_3X3,
        DIL_CONV_5X5,
        CONV_7X1_1X7,
        NOR_CONV_1X1,
        NOR_CONV_3X3,
    )
}


def named(name: str, candidates: tuple[Operation, ...] = ()) -> Operation:
    """The operation of a name, of a space's candidates or of `OPERATIONS`.

    Raises:
      InputError: there is none.
    """
    known = OPERATIONS | {operation.name: operation for operation in candidates}
    if name not in known:
        raise InputError(f"operation {name!r} is not one of {', '.join(sorted(known))}")
    return known[name]
