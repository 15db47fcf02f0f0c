"""nasjax's side: the compiled steps a search and a retraining run.

A search's step is timed in the middle of the search, where teachers teach, paths are
dropped and every method trains alpha; the batches stay the same, the draws do not.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.benchmark import timing
from nasjax import (
    bilevel,
    layers,
    losses,
    methods,
    network,
    optimizers,
    schedules,
    spaces,
    supernet,
    teachers,
)
from nasjax.base import Array, Tree
from nasjax.data.batches import Batch
from nasjax.genotype import Genotype
from nasjax.methods.base import Method
from nasjax.runtime.budget import peak_bytes, tree_bytes
from nasjax.runtime.parallel import Devices

#: CIFAR-10's train half, DARTS's epochs and the last batch of its half of them.
EXAMPLES, EPOCHS = 25_000, 50
_Step = Callable[..., Any]


class Program(NamedTuple):
    """A bilevel step and what makes the state it starts from."""

    step: _Step
    new_state: Callable[[], bilevel.SearchState]


class _Started(NamedTuple):
    """A compiled step that has run once.

    Attributes:
      run: one step more, from where the last one ended; returns when it is done.
      found: the seconds until the first had been run.
      images: of a step.
      peak_bytes: the compiler's memory analysis.
      held: the most memory of the process until then.
    """

    run: Callable[[], None]
    found: dict[str, Any]
    images: int
    peak_bytes: int
    held: int


def program(
    method: Method,
    *,
    space: str,
    channels: int,
    num_cells: int,
    batch_size: int,
    dtype: str = "float32",
    depthwise: str = "auto",
    engine: str = "auto",
    axis_name: str | None = None,
) -> Program:
    """The step of a method on CIFAR-10's shapes, in the middle of a search."""
    net = supernet.build(
        method.adapt(spaces.SPACES[space]()),
        channels=channels,
        num_cells=num_cells,
        dtype=dtype,
        depthwise=depthwise,
        engine=engine,
        axis_name=axis_name,
    )
    both = bilevel.Optimizers(
        optimizers.weight_optimizer(schedules.constant(0.025)),
        optimizers.arch_optimizer(),
    )
    steps = -(-EXAMPLES // batch_size)
    step = bilevel.make_step(
        net, method, optimizers=both, steps_per_epoch=steps, epochs=EPOCHS
    )

    def new_state() -> bilevel.SearchState:
        state = bilevel.init_state(
            jax.random.key(0),
            net,
            method,
            optimizers=both,
            num_examples=steps * batch_size,
        )
        return state._replace(step=state.step + EPOCHS // 2 * steps)

    return Program(step, new_state)


def search_step(*, num_steps: int, **settings: Any) -> dict[str, Any]:
    """Time the bilevel step of a method, whose name and sizes are the settings."""
    started = _search(**settings)
    return started.found | _measured(started, timing.repeat(started.run, num_steps))


def share(*, method: str, num_steps: int, **sizes: Any) -> dict[str, Any]:
    """Time the bilevel steps of a method and of DARTS's mixture in turn.

    The process holds both, and has traced the mixture first: its memory and the seconds
    to the method's first step are not those of the method alone.
    """
    mixture, own = (_search(method=name, **sizes) for name in ("darts", method))
    whole, part = timing.in_turn([mixture.run, own.run], num_steps)
    shares = {
        name: [a / b for a, b in zip(part[name], whole[name], strict=True)]
        for name in ("step_seconds", "step_cpu_seconds")
    }
    return {
        **own.found,
        **_measured(own, part),
        "mixture_step_seconds_median": whole["step_seconds_median"],
        "mixture_step_seconds": whole["step_seconds"],
        "mixture_step_cpu_seconds": whole["step_cpu_seconds"],
        "share_of_mixture": statistics.median(shares["step_seconds"]),
        "share_of_mixture_min": min(shares["step_seconds"]),
        "share_of_mixture_max": max(shares["step_seconds"]),
        "cpu_share_of_mixture": statistics.median(shares["step_cpu_seconds"]),
    }


def _search(*, method: str, batch_size: int, **sizes: Any) -> _Started:
    """The bilevel step of a method, begun on two batches."""
    step, new_state = program(methods.METHODS[method](), batch_size=batch_size, **sizes)
    state = jax.jit(new_state)()
    started = _start(
        jax.jit(step, donate_argnums=0),
        state,
        batches(batch_size),
        images=2 * batch_size,
    )
    count = {"weights": supernet.count(state.weights)}
    return started._replace(found=count | started.found)


def devices(
    *, num_devices: int, method: str, batch_size: int, num_steps: int, **sizes: Any
) -> dict[str, Any]:
    """Time the bilevel step of a global batch that several devices share."""
    shared = Devices(num_devices, batch_size)
    shared.check()
    step, new_state = program(
        methods.METHODS[method](),
        batch_size=batch_size,
        axis_name=shared.axis_name,
        **sizes,
    )

    def run(state: bilevel.SearchState, batches: tuple[Batch, Batch]) -> Any:
        return step(state, *batches)

    def parts(array: Array) -> Array:
        return array.reshape(num_devices, -1, *array.shape[1:])

    both = batches(batch_size)
    if num_devices > 1:
        both = jax.tree.map(parts, both)
    state = shared.shard_state(jax.jit(new_state)())
    compiled = shared.jit(run, others=0, updates=True)
    return _timed(compiled, state, (both,), num_steps, images=2 * batch_size)


def ring(*, batch_size: int, num_steps: int, **sizes: Any) -> dict[str, Any]:
    """Time what the teachers' ring adds: recording, voting and the loss, alone.

    Beside it the whole step of SD-DARTS and of DARTS, which differ by that and by
    what the machine does meanwhile.
    """
    sizes |= {"batch_size": batch_size, "num_steps": num_steps}
    whole = search_step(method="sd_darts", **sizes)
    plain = search_step(method="darts", **sizes)
    alone = _ring_alone(batch_size, num_steps)
    step = whole["step_seconds_median"]
    return whole | {
        "darts_step_seconds_median": plain["step_seconds_median"],
        "darts_step_seconds": plain["step_seconds"],
        "ring_seconds_median": alone["step_seconds_median"],
        "ring_bytes": alone["ring_bytes"],
        "ring_share_of_step": alone["step_seconds_median"] / step,
    }


def _ring_alone(batch_size: int, num_steps: int) -> dict[str, Any]:
    """A vote, the distillation loss with its gradient, and a recording."""
    kept = teachers.init_ring(window=2, num_examples=EXAMPLES, num_classes=10)
    size = tree_bytes(kept)
    rows = jnp.arange(batch_size, dtype=jnp.int32)
    logits = jax.random.normal(jax.random.key(0), (batch_size, 10))

    def step(kept: teachers.Ring, rows: Array, logits: Array) -> Any:
        probs, valid = teachers.vote(kept, rows, epoch=1)

        def loss(logits: Array) -> Array:
            each = losses.kl_per_example(probs, logits)
            return jnp.where(valid, each, 0.0).mean()

        gradient = jax.grad(loss)(logits)
        return teachers.record(kept, rows, jax.nn.softmax(logits), epoch=1), gradient

    compiled = jax.jit(step, donate_argnums=0)
    found = _timed(compiled, kept, (rows, logits), 20 * num_steps, images=batch_size)
    return found | {"ring_bytes": size}


def retrain_step(
    *,
    genotype: str,
    channels: int,
    num_cells: int,
    batch_size: int,
    num_steps: int,
    **forms: Any,
) -> dict[str, Any]:
    """Time the step that trains a discrete network of the DARTS family.

    With auxiliary head (weight 0.4) and drop path (0.2), as the published settings
    have them at their end; ``genotype`` is JSON.
    """
    cells = Genotype.from_json(genotype)
    sizes: dict[str, Any] = {
        "dataset": "cifar10",
        "channels": channels,
        "num_cells": num_cells,
        "num_classes": 10,
    }
    variables = network.init(jax.random.key(0), cells, auxiliary=True, **sizes)
    optimizer = optimizers.weight_optimizer(schedules.constant(0.025))
    state = variables, optimizer.init(variables["params"]), jnp.zeros((), jnp.int32)

    def step(state: Any, batch: Batch) -> Any:
        variables, optimizer_state, number = state

        def loss(params: Tree) -> Any:
            output = network.train_apply(
                {**variables, "params": params},
                batch.images,
                cells,
                key=jax.random.fold_in(jax.random.key(1), number),
                drop_path_rate=jnp.float32(0.2),
                **forms,
                **sizes,
            )
            entropy = losses.cross_entropy_per_example
            total = entropy(output.logits, batch.labels).mean()
            assert output.auxiliary is not None
            total += 0.4 * entropy(output.auxiliary, batch.labels).mean()
            return total, output.batch_stats

        params = variables["params"]
        gradient, stats = jax.grad(loss, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        variables = {"params": params, "batch_stats": stats}
        return (variables, optimizer_state, number + 1), stats

    found = {"weights": supernet.count(variables["params"])}
    compiled = jax.jit(step, donate_argnums=0)
    batch = batches(batch_size)[:1]
    return found | _timed(compiled, state, batch, num_steps, images=batch_size)


def depthwise(
    *,
    form: str,
    channels: int,
    image_size: int,
    batch_size: int,
    kernel_size: int,
    dilation: int,
    dtype: str,
    num_steps: int,
) -> dict[str, Any]:
    """Time one form of the depthwise convolution, forward and both gradients."""
    keys = jax.random.split(jax.random.key(0), 3)
    shape = channels, image_size, image_size, batch_size
    x, cotangent = (jax.random.normal(key, shape, dtype) for key in keys[:2])
    kernel = jax.random.normal(keys[2], (channels, kernel_size, kernel_size))

    def step(kernel: Array, x: Array, cotangent: Array) -> Any:
        def run(x: Array, kernel: Array) -> Array:
            return layers.depthwise(x, kernel, dilation=dilation, form=form)

        y, pullback = jax.vjp(run, x, kernel)
        return kernel, (y, *pullback(cotangent))

    compiled = jax.jit(step)
    return _timed(compiled, kernel, (x, cotangent), num_steps, images=batch_size)


# --- shared ---------------------------------------------------------------------


def batches(batch_size: int) -> tuple[Batch, Batch]:
    """Two batches of CIFAR-10's shapes."""

    def one(seed: int) -> Batch:
        images, labels = jax.random.split(jax.random.key(seed))
        rows = jnp.arange(batch_size, dtype=jnp.int32)
        return Batch(
            jax.random.normal(images, (batch_size, 32, 32, 3)),
            jax.random.randint(labels, (batch_size,), 0, 10),
            rows,
            rows,
            jnp.ones(batch_size),
        )

    return one(1), one(2)


def _start(step: Any, state: Tree, others: tuple[Any, ...], *, images: int) -> _Started:
    """Trace, compile and run once ``(state, *others) -> (state, result)``."""
    jax.block_until_ready((state, others))
    started = time.perf_counter()
    lowered = step.lower(state, *others)
    traced = time.perf_counter()
    compiled = lowered.compile()
    compiled_at = time.perf_counter()
    box = [state]

    def run() -> None:
        box[0], result = compiled(box[0], *others)
        jax.block_until_ready((box[0], result))

    run()
    found = {
        "seconds_to_first_step": time.perf_counter() - started,
        "trace_seconds": traced - started,
        "compile_seconds": compiled_at - traced,
    }
    held = timing.process_peak_bytes()
    timing.forget_peak()
    return _Started(run, found, images, peak_bytes(compiled), held)


def _measured(started: _Started, steps: dict[str, Any]) -> dict[str, Any]:
    """The steps' figures, and what they say with the step's size."""
    return steps | {
        "images_per_second": started.images / steps["step_seconds_median"],
        "peak_bytes": started.peak_bytes,
        # Of the steps alone, where the system can tell it from the compilation's.
        "steps_process_peak_bytes": timing.process_peak_bytes(),
        "process_peak_bytes": max(started.held, timing.process_peak_bytes()),
        "device": jax.devices()[0].device_kind,
    }


def _timed(
    step: Any, state: Tree, others: tuple[Any, ...], num_steps: int, *, images: int
) -> dict[str, Any]:
    """`_start` and what its repetition takes."""
    started = _start(step, state, others, images=images)
    return started.found | _measured(started, timing.repeat(started.run, num_steps))
