"""What decides a search, for `nasjax.runtime.identity`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nasjax.architecture import Drop
from nasjax.base import Array, Tree
from nasjax.data.augment import Augmentation
from nasjax.data.batches import DeviceData, Split
from nasjax.layers import Context
from nasjax.methods.base import Method
from nasjax.operations import Operation
from nasjax.runtime.fingerprints import every, of_arrays, of_program, some_rows
from nasjax.runtime.identity import Identity
from nasjax.schedules import Schedule
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Settings, Supernet

#: Points of progress at which schedules are told, and the digits of their values.
_POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_DIGITS = 4


def of_search(
    method: Method,
    net: Supernet,
    *,
    programs: Mapping[str, Any],
    optimizers: Mapping[str, optax.GradientTransformation],
    epochs: int,
    augmentation: Augmentation | None,
) -> Identity:
    """Of a search of any seed and data; see `with_data`.

    Args:
      method: the search method.
      net: the supernet.
      programs: of the method's parts, by name (`methods.check.check_method`).
      optimizers: of weights and alpha, by these names.
      epochs: of the search.
      augmentation: of both halves.
    """
    space, settings = net.space, net.settings
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = {
        "weights": lambda: jax.eval_shape(net.init, key),
        "alpha": lambda: jax.eval_shape(lambda k: method.init(k, space), key),
    }
    says = {
        "method": _method(method),
        "space": _space(space),
        "network": _network(settings),
        "search": {"epochs": epochs},
        "augmentation": augmentation and augmentation._asdict(),
    }
    traced = {f"method.{name}": program for name, program in programs.items()}
    channels = settings.channels // space.channel_divisor
    for operation in space.operations:
        traced[f"operation {operation.name}"] = _operation(operation, channels)
    for name, optimizer in optimizers.items():
        traced[f"the optimizer of {name}"] = _updates(optimizer, shapes[name])
    return Identity(says, {name: of_program(one) for name, one in traced.items()})


def with_data(identity: Identity, data: DeviceData, seed: int) -> Identity:
    """The identity of the search of a seed, with its data as one device has them."""
    halves = {"train": data.train, "valid": data.valid}
    numbers = {name: int(half.weights.sum()) for name, half in halves.items()}
    batch_size = int(data.train.labels.shape[1])
    search = {**identity.says["search"], "batch_size": batch_size}
    says = {
        **identity.says,
        "search": search,
        "data": {**numbers, "fingerprint": of_arrays(_data_arrays(data))},
        "seed": seed,
    }
    return identity._replace(says=says)


def _method(method: Method) -> dict[str, Any]:
    candidates = method.candidates
    return {
        "name": method.name,
        "order": method.order,
        "inner_clip": method.inner_clip,
        "arch_start": method.arch_start,
        "subgraphs": method.subgraphs,
        "candidates": candidates and candidates._asdict(),
        "schedules": {name: _values(one) for name, one in method.schedules.items()},
    }


def _values(schedule: Schedule) -> list[float]:
    values = (float(schedule(jnp.float32(at))) for at in _POINTS)
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def _space(space: SearchSpace) -> dict[str, Any]:
    fields = ("num_inputs", "edges_per_node", "channel_divisor")
    return {
        "name": space.name,
        "operations": list(space.primitives),
        "edges": [list(edge) for edge in space.edges],
        "cell_types": list(space.cell_types),
        "output": list(space.output),
        **{field: getattr(space, field) for field in fields},
    }


def _network(settings: Settings) -> dict[str, Any]:
    """Its sizes; how it is computed may change from start to start."""
    fields = settings._asdict()
    del fields["context"], fields["engine"]
    return {
        **fields,
        "image_shape": list(settings.image_shape),
        "dtype": jnp.dtype(settings.dtype).name,
    }


def _operation(operation: Operation, channels: int) -> Any:
    """The program of an operation, with a drop rate that it may use."""
    shapes = operation.shapes(channels, 1)
    weights = {n: jax.ShapeDtypeStruct(one, jnp.float32) for n, one in shapes.items()}
    image = jax.ShapeDtypeStruct((channels, 8, 8, 2), jnp.float32)
    rate = jax.ShapeDtypeStruct((), jnp.float32)

    def apply(weights: Any, x: Array, rate: Array) -> Array:
        drop = Drop(jax.random.key(0), rate)
        return operation.apply(weights, x, 1, Context(depthwise="shift", drop=drop))

    return jax.make_jaxpr(apply)(weights, image, rate)


def _updates(
    optimizer: optax.GradientTransformation, shapes: Callable[[], Tree]
) -> Any:
    """The program of an optimizer's start and of two updates.

    Args:
      optimizer: any.
      shapes: of what it is to train, for one that asks which array is which.
    """

    def call(gradient: Tree, values: Tree) -> Any:
        state = optimizer.init(values)
        _, state = optimizer.update(gradient, state, values)
        return optimizer.update(gradient, state, values)

    small = {name: jax.ShapeDtypeStruct((2, 3), jnp.float32) for name in ("a", "b")}
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        try:
            return jax.make_jaxpr(call)(small, small)
        except Exception:  # of its names and shapes some know nothing
            tree = shapes()
            return jax.make_jaxpr(call)(tree, tree)


def _data_arrays(data: DeviceData) -> Iterable[np.ndarray]:
    """What a search reads, however it is laid out (`data.shared`)."""
    for half in (data.train, data.valid):
        for array in (half.labels, half.ids, half.weights):
            yield np.asarray(array)
        yield _images(half)
    yield np.asarray(data.mean)
    yield np.asarray(data.std)


def _images(half: Split) -> np.ndarray:
    """``[N, H, W, Ch]``, in the order of the ids: all, or some."""
    images = half.images
    if images.ndim == 4:
        rows = np.asarray(half.ids).ravel()
        return np.asarray(images[jnp.asarray(rows[:: every(len(rows), images)])])
    return np.asarray(some_rows(images.reshape(-1, *images.shape[-3:])))
