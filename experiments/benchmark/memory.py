"""What is kept: peaks of steps that are compiled and not run, and teachers' bytes."""

import statistics
import time
from typing import Any

import jax

from experiments.benchmark import nasjax_side, timing
from nasjax import methods, schedules, spaces, supernet
from nasjax.base import Tree
from nasjax.methods.base import Method
from nasjax.methods.msg_das import add_drop_block_identity, gumbel_paths
from nasjax.runtime.budget import peak_bytes, tree_bytes


def _unguided() -> Method:
    """MSG-DAS without super-net guidance."""
    paths = gumbel_paths(temperature=schedules.linear(10.0, 1.0))
    return add_drop_block_identity(paths, rate=schedules.steps(0.0, 0.2, 4))


#: Methods by name, with their defaults.
METHODS = {**methods.METHODS, "msg_das_unguided": _unguided}


def step(*, method: str, **sizes: Any) -> dict[str, Any]:
    """Compile the step of a method and ask for its memory."""
    made = nasjax_side.program(METHODS[method](), **sizes)
    state = jax.eval_shape(made.new_state)
    batches = jax.eval_shape(lambda: nasjax_side.batches(sizes["batch_size"]))
    lowered = jax.jit(made.step, donate_argnums=0).lower(state, *batches)
    started = time.perf_counter()
    peak = peak_bytes(lowered.compile())
    seconds = round(time.perf_counter() - started, 1)
    return {"peak_bytes": peak, "compile_seconds": seconds}


def teachers(*, window: int, num_steps: int, space: str, **sizes: Any) -> Any:
    """Bytes and seconds of no teachers (DARTS), stored outputs and kept weights.

    ``kept_bytes`` is computed at the papers' size; seconds are those of a step after
    the warm-up, of each in turn, ``cpu_seconds`` of all threads, which other programs
    on the machine change less.
    """
    kinds = {
        "none": methods.darts(),
        "outputs": methods.sd_darts(window=window),
        "weights": methods.sd_darts(window=window, teacher="weights"),
    }
    begun = [_begin(method, space=space, **sizes) for method in kinds.values()]
    timed = timing.in_turn([once for once, _ in begun], num_steps)
    return {
        name: {
            "kept_bytes": _kept_bytes(method, space),
            "step_seconds": found["step_seconds_median"],
            "cpu_seconds": statistics.median(found["step_cpu_seconds"]),
            "peak_bytes": peak,
        }
        for (name, method), found, (_, peak) in zip(
            kinds.items(), timed, begun, strict=True
        )
    }


def _kept_bytes(method: Method, space: str) -> int:
    """Of what a method keeps for its teachers, at the papers' size on CIFAR-10."""
    cells = 5 if space == "nasbench201" else 8
    adapted = method.adapt(spaces.SPACES[space]())
    net = supernet.build(adapted, channels=16, num_cells=cells)

    def kept() -> Tree:
        key = jax.random.key(0)
        weights, alpha = net.init(key), method.init(key, net.space)
        memory = method.init_memory(nasjax_side.EXAMPLES, net.settings.num_classes)
        return memory, method.init_snapshots(weights, alpha)

    return tree_bytes(jax.eval_shape(kept))


def _begin(method: Method, **sizes: Any) -> Any:
    """A step in the middle of a search, run once, and its peak in bytes."""
    step, new_state = nasjax_side.program(method, **sizes)
    batches = nasjax_side.batches(sizes["batch_size"])
    states = [jax.jit(new_state)()]
    run = jax.jit(step, donate_argnums=0).lower(states[0], *batches).compile()

    def once() -> None:
        states[0], metrics = run(states[0], *batches)
        jax.block_until_ready((states[0], metrics))

    once()
    return once, peak_bytes(run)
