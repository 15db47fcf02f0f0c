"""Small searches by every method, each compiled once, for the catalogue's tests."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import bilevel, layers, optimizers, schedules, spaces
from nasjax.architecture import Mixture, Path, fold_in_cell
from nasjax.bilevel import Optimizers, SearchState
from nasjax.data import DeviceData, load, to_device
from nasjax.data.batches import Batch, epoch_order, take
from nasjax.engine.scan import apply_cell, cell_template
from nasjax.methods import METHODS, Method
from nasjax.objective import Metrics
from nasjax.runtime.parallel import Devices
from nasjax.search import epoch
from nasjax.search.epoch import DataKeys
from nasjax.spaces.base import SearchSpace
from nasjax.supernet import Architecture, Settings, Supernet

_QUICK = {"xla_backend_optimization_level": 0}
#: The same numbers, compiled in a fraction of the time.
compiled = functools.partial(jax.jit, compiler_options=_QUICK)

#: 40 of 80 examples a half: two batches of 16 and a ragged one of 8.
EXAMPLES, BATCH, STEPS, EPOCHS = 80, 16, 3, 20
#: What happens in a search of these methods happens in its first two epochs.
_TAUGHT = {"warmup": 1, "window": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "darts2nd": {"order": 2},
    "pc_darts": {"arch_start": 1},
    "random": {"candidates": 12, "batches": 1, "finalists": 6},
    "sd_darts": _TAUGHT,
    "stc_nas_sd": _TAUGHT,
}
#: Every method, and second-order DARTS, by name.
NAMES = (*METHODS, "darts2nd")


def method(name: str) -> Method:
    make = METHODS["darts" if name == "darts2nd" else name]
    return make(**SETTINGS.get(name, {}))


def skeleton(space: SearchSpace, settings: Settings) -> Supernet:
    """Stem, one cell, head: what is left to compile is what methods differ in."""
    template = {
        "stem": layers.stem_template((settings.image_shape[2], settings.channels)),
        "cell": cell_template(space, channels=settings.channels, reduction=False),
        "head": layers.head_template(settings.channels, settings.num_classes),
    }

    def cells(weights: Any, architecture: Architecture, images: jax.Array) -> jax.Array:
        x = layers.enter(images, settings.dtype)
        (x,), _ = layers.apply_stem(
            weights["stem"], (None,), x, stride=1, context=settings.context
        )
        x = apply_cell(
            weights["cell"],
            fold_in_cell(architecture["cell"], 0),
            (x,),
            space=space,
            reduction=False,
            context=settings.context,
        )
        return layers.apply_head(weights["head"], jax.nn.relu(x))

    return Supernet(
        space,
        settings,
        init=lambda key: layers.draw(key, template),
        stem=lambda weights, images: images,
        cells=cells,
        macs=lambda cost: 0,
    )


def space() -> SearchSpace:
    """The first three states of NAS-Bench-201's cell, without its dearest operation."""
    whole = spaces.nasbench201().without("nor_conv_3x3")
    return whole._replace(edges=whole.edges[:3], output=(2,))


def network(method: Method, axis_name: str | None = None) -> Supernet:
    context = layers.Context(axis_name=axis_name)
    settings = Settings(4, 1, 10, (8, 8, 1), jnp.dtype(jnp.float32), context)
    return skeleton(method.adapt(space()), settings)


@functools.cache
def digits() -> DeviceData:
    dataset = load("digits", max_examples=EXAMPLES)
    return to_device(dataset, batch_size=BATCH, seed=0)


def both_optimizers() -> Optimizers:
    rate = schedules.constant(0.2)
    return Optimizers(
        optimizers.weight_optimizer(rate), optimizers.arch_optimizer(3e-3)
    )


class Small(NamedTuple):
    """A small search; `dispatch` donates nothing, so a state may be used again."""

    method: Method
    net: Supernet
    devices: Devices
    data: DeviceData  # laid out for the devices
    keys: DataKeys
    start: SearchState  # of one device
    run: Callable[..., Any]  # not compiled
    dispatch: Callable[..., Any]  # `run`, compiled
    traces: list[int]  # one for each time that `run` was traced, on one device

    def advance(self, state: SearchState, stop: int) -> tuple[SearchState, Metrics]:
        """Up to a step of the same epoch."""
        # Adam of optax promotes an integer, where it is traced.
        with jax.numpy_dtype_promotion("standard"):
            return self.dispatch(state, self.data, self.keys, jnp.int32(stop))


def search(method: Method, num_devices: int = 1) -> Small:
    devices = Devices(num_devices, BATCH)
    devices.check()
    net = network(method, devices.axis_name)
    both = both_optimizers()
    step = bilevel.make_step(
        net, method, optimizers=both, steps_per_epoch=STEPS, epochs=EPOCHS
    )
    run = epoch.make_dispatch(
        step, num_steps=STEPS, augmentation=None, axis_name=devices.axis_name
    )
    data, keys = devices.spread_data(digits()), epoch.data_keys(jax.random.key(1))
    start = compiled(
        lambda key: bilevel.init_state(
            key, net, method, optimizers=both, num_examples=digits().train.weights.size
        )
    )(jax.random.key(0))
    traces: list[int] = []
    if num_devices == 1:

        def counted(*args: Any) -> Any:
            traces.append(1)
            return run(*args)

        dispatch = compiled(counted)
    else:
        with jax.numpy_dtype_promotion("standard"):
            state = devices.shard_state(start)
            lowered = devices.jit(run, others=2, updates=True).lower(
                state, data, keys, jnp.int32(1)
            )
        dispatch = lowered.compile(compiler_options=_QUICK)
    return Small(method, net, devices, data, keys, start, run, dispatch, traces)


@functools.cache
def searched(name: str) -> Small:
    """The search of a method on one device."""
    return search(method(name))


def batch_of(small: Small, step: int, half: str) -> Batch:
    """What a half gives to a step."""
    epoch, index = divmod(step, STEPS)
    part = getattr(small.data, half)
    order = epoch_order(
        getattr(small.keys, f"{half}_order"),
        part.weights,
        epoch=epoch,
        num_steps=STEPS,
    )
    key = getattr(small.keys, f"{half}_augmentation")
    return take(small.data, part, order[index], key, epoch=epoch, augmentation=None)


def gated(space: SearchSpace) -> Supernet:
    """A supernet without cells: few enough operations to run one by one."""
    image_shape = (2, 2, 1)
    settings = Settings(1, 1, 3, image_shape, jnp.dtype(jnp.float32), layers.Context())
    template = {
        "in": layers.kernel(5, 4),
        "gate": layers.kernel(5, space.num_edges * space.num_ops),
        "out": layers.kernel(3, 5),
    }

    def factors(cell: Mixture | Path) -> jax.Array:
        if isinstance(cell, Mixture):
            return cell.weights.reshape(-1)
        chosen = jax.nn.one_hot(cell.operation, space.num_ops)
        return (chosen * jnp.where(cell.active, cell.weight, 0)[:, None]).reshape(-1)

    def cells(weights: Any, architecture: Architecture, images: jax.Array) -> jax.Array:
        hidden = images.reshape(images.shape[0], -1) @ weights["in"].T
        gate = jnp.tanh(weights["gate"] @ factors(architecture["cell"]))
        return jnp.tanh(hidden) * (1.0 + gate)[None] @ weights["out"].T

    return Supernet(
        space,
        settings,
        init=lambda key: layers.draw(key, template),
        stem=lambda weights, images: images,
        cells=cells,
        macs=lambda cost: 0,
    )


def some_batch(seed: int, rows: list[int]) -> Batch:
    """Four examples for a gated supernet, the last of weight 0."""
    rng = np.random.default_rng(seed)
    return Batch(
        images=jnp.asarray(rng.normal(size=(4, 2, 2, 1)), jnp.float32),
        labels=jnp.asarray(rng.integers(0, 3, 4), jnp.int32),
        ids=jnp.asarray(rows, jnp.int32),
        rows=jnp.asarray(rows, jnp.int32),
        weights=jnp.asarray([1.0, 1.0, 1.0, 0.0]),
    )


def bits(leaf: jax.Array) -> np.ndarray:
    """An array, or the numbers of a key."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def assert_same_bits(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))


def differ(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return any((bits(a) != bits(b)).any() for a, b in pairs)
