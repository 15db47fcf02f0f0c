"""Peak memory of the compiled bilevel step of each method, without running it.

    python -m experiments.memory [--methods=darts,stc_nas] [--space=darts]
        [--channels=16] [--num_cells=8] [--batch_size=64]

One JSON object a line: the compiler's own figures, and each method's peak as a part of
that of the mixture (DARTS, which is always measured first). ``msg_das_unguided`` is
MSG-DAS without super-net guidance. A compilation takes about a minute on two cores.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import json
import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from absl import flags

from experiments.launch import app, devices
from nasjax import bilevel, methods, optimizers, schedules, spaces, supernet
from nasjax.base import InputError
from nasjax.data.batches import Batch
from nasjax.methods.base import Method
from nasjax.methods.msg_das import add_drop_block_identity, gumbel_paths
from nasjax.runtime.budget import peak_bytes

_METHODS = flags.DEFINE_list(
    "methods",
    ["stc_nas", "gdas", "msg_das", "msg_das_unguided"],
    "Methods to set beside darts.",
)
_SPACE = flags.DEFINE_string("space", "darts", "Search space.", allow_override=True)
_SIZES = {
    "channels": flags.DEFINE_integer("channels", 16, "C.", lower_bound=1),
    "num_cells": flags.DEFINE_integer(
        "num_cells", 8, "L; of a stage in nasbench201.", lower_bound=1
    ),
}
_BATCH = flags.DEFINE_integer("batch_size", 64, "B.", lower_bound=1)


def make(name: str) -> Method:
    """A method by name, with its defaults.

    Raises:
      InputError: an unknown name.
    """
    if name == "msg_das_unguided":
        paths = gumbel_paths(temperature=schedules.linear(10.0, 1.0))
        return add_drop_block_identity(paths, rate=schedules.steps(0.0, 0.2, 4))
    if name not in methods.METHODS:
        known = ", ".join([*sorted(methods.METHODS), "msg_das_unguided"])
        raise InputError(f"flag --methods has {name!r}; it takes {known}")
    return methods.METHODS[name]()


def measure(
    method: Method, *, space: str, batch_size: int, channels: int, num_cells: int
) -> dict[str, float]:
    """Compile the step of a method on CIFAR-10's shapes and ask for its memory."""
    adapted = method.adapt(spaces.SPACES[space]())
    net = supernet.build(adapted, channels=channels, num_cells=num_cells)
    both = bilevel.Optimizers(
        optimizers.weight_optimizer(schedules.constant(0.025)),
        optimizers.arch_optimizer(),
    )
    step = bilevel.make_step(
        net, method, optimizers=both, steps_per_epoch=390, epochs=50
    )
    state = jax.eval_shape(
        lambda: bilevel.init_state(
            jax.random.key(0), net, method, optimizers=both, num_examples=25_000
        )
    )
    batch = jax.eval_shape(lambda: _batch(batch_size))
    started = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch, batch).compile()
    return {
        "peak_bytes": peak_bytes(compiled),
        "compile_seconds": round(time.perf_counter() - started, 1),
    }


def _batch(batch_size: int) -> Batch:
    whole = jnp.zeros(batch_size, jnp.int32)
    images = jnp.zeros((batch_size, 32, 32, 3))
    return Batch(images, whole, whole, whole, jnp.ones(batch_size))


def main(argv: Sequence[str]) -> int:
    """Print a line a method."""
    del argv
    if _SPACE.value not in spaces.SPACES:
        known = ", ".join(spaces.SPACES)
        raise InputError(f"flag --space is {_SPACE.value!r}; it takes {known}")
    sizes = {name: flag.value for name, flag in _SIZES.items()}
    named = {name: make(name) for name in ["darts", *_METHODS.value]}
    print(devices.line(), file=sys.stderr, flush=True)
    mixture = 0.0
    for name, method in named.items():
        found = measure(method, space=_SPACE.value, batch_size=_BATCH.value, **sizes)
        mixture = mixture or found["peak_bytes"]
        part = round(found["peak_bytes"] / mixture, 3)
        print(json.dumps({"method": name, **found, "of_mixture": part}), flush=True)
    return 0


if __name__ == "__main__":
    app.run(main)
