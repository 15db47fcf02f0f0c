"""What SD-DARTS's two kinds of teachers cost: bytes kept, and seconds of a step.

    python -m experiments.teachers [--space=darts] [--window=2] [--num_steps=5]
        [--timed_channels=8] [--timed_cells=3] [--batch_size=64]

One JSON object a line, for no teachers (DARTS), stored outputs and kept weights.
``kept_bytes`` is computed, at the papers' C=16 and L=8 (N=5 in NAS-Bench-201) and the
25,000 examples of CIFAR-10's train half; seconds are measured on a narrow supernet,
after the warm-up, a step of each in turn; ``cpu_seconds`` are those of all threads,
which other programs on the machine change less.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import flags

from experiments.benchmark import nasjax_side, timing
from experiments.launch import app
from nasjax import methods, spaces, supernet
from nasjax.base import InputError
from nasjax.methods.base import Method
from nasjax.runtime.budget import peak_bytes, tree_bytes

# Other launchers have some of these flags too; tests import several of them together.
_SPACE = flags.DEFINE_string("space", "darts", "Search space.", allow_override=True)
_SIZES = {
    name: flags.DEFINE_integer(name, value, text, lower_bound=1, allow_override=True)
    for name, value, text in (
        ("window", 2, "K, teachers."),
        ("num_steps", 5, "Steps that are timed."),
        ("timed_channels", 8, "C of what is timed."),
        ("timed_cells", 3, "Its cells; of a stage in nasbench201."),
        ("batch_size", 64, "B of what is timed."),
    )
}


def variants(window: int) -> dict[str, Method]:
    """DARTS, and SD-DARTS with either kind of teachers."""
    return {
        "none": methods.darts(),
        "outputs": methods.sd_darts(window=window),
        "weights": methods.sd_darts(window=window, teacher="weights"),
    }


def kept_bytes(method: Method, space: str) -> int:
    """Of what a method keeps for its teachers, at the papers' size on CIFAR-10."""
    net = supernet.build(method.adapt(spaces.SPACES[space]()), channels=16)

    def kept() -> Any:
        key = jax.random.key(0)
        weights, alpha = net.init(key), method.init(key, net.space)
        memory = method.init_memory(nasjax_side.EXAMPLES, net.settings.num_classes)
        return memory, method.init_snapshots(weights, alpha)

    return tree_bytes(jax.eval_shape(kept))


def begin(method: Method, **sizes: Any) -> tuple[Callable[[], None], int]:
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


def main(argv: Sequence[str]) -> int:
    """Print a line a kind."""
    del argv
    if _SPACE.value not in spaces.SPACES:
        known = ", ".join(spaces.SPACES)
        raise InputError(f"flag --space is {_SPACE.value!r}; it takes {known}")
    sizes = {name: flag.value for name, flag in _SIZES.items()}
    kinds = variants(sizes["window"])
    begun = {
        name: begin(
            method,
            space=_SPACE.value,
            channels=sizes["timed_channels"],
            num_cells=sizes["timed_cells"],
            batch_size=sizes["batch_size"],
        )
        for name, method in kinds.items()
    }
    timed = timing.in_turn([once for once, _ in begun.values()], sizes["num_steps"])
    for (name, method), found in zip(kinds.items(), timed, strict=True):
        line = {
            "teachers": name,
            "kept_bytes": kept_bytes(method, _SPACE.value),
            "step_seconds": found["step_seconds_median"],
            "cpu_seconds": statistics.median(found["step_cpu_seconds"]),
            "peak_bytes": begun[name][1],
        }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    app.run(main)
