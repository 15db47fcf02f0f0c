"""The compiler's side: a bilevel step for a device that this machine need not have.

Nothing runs. What is found are properties of the compiled program, and a model's time.
"""

import resource
import time
from pathlib import Path
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from experiments.benchmark import arithmetic, launches, nasjax_side, targets
from nasjax import methods


def step(
    *, target: str, method: str, batch_size: int, hlo: str | None = None, **sizes: Any
) -> dict[str, Any]:
    """Compile the step of a method, whose name and sizes are the settings.

    Args:
      target: one of `targets.TARGETS`.
      method: its name.
      batch_size: B.
      hlo: file for the optimised program.
      **sizes: of `nasjax_side.program`.
    """
    one = SingleDeviceSharding(targets.device(target))
    backend = "tpu" if target == "v5e" else "gpu"
    # nasjax takes its forms by it.
    jax.default_backend = lambda: backend
    made = nasjax_side.program(
        methods.METHODS[method](), batch_size=batch_size, **sizes
    )
    state = jax.eval_shape(made.new_state)
    batches = jax.eval_shape(lambda: nasjax_side.batches(batch_size))
    jitted = jax.jit(made.step, donate_argnums=0, in_shardings=one, out_shardings=one)
    began = time.perf_counter(), _cpu_seconds()
    traced = jitted.trace(state, *batches)
    lowered = traced.lower()
    lowered_at = _cpu_seconds()
    compiled = lowered.compile()
    compiled_at = _cpu_seconds()
    text = compiled.as_text()
    if hlo:
        Path(hlo).write_text(text)
    found = launches.count(text)
    flops = arithmetic.flops(traced.jaxpr)
    return {
        "kernels": round(found.kernels),
        "branches": round(found.branches),
        "loops_of_unknown_length": round(found.loops_of_unknown_length),
        "compile_cpu_seconds": round(compiled_at - lowered_at, 1),
        "trace_cpu_seconds": round(lowered_at - began[1], 1),
        "compile_seconds": round(time.perf_counter() - began[0], 1),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "flops": flops,
        "bytes_accessed": round(found.bytes_accessed),
        "by_kind": {
            kind: round(number)
            for kind, number in sorted(found.by_kind.items(), key=lambda kv: -kv[1])
        },
        **_model(target, found, flops, str(sizes.get("dtype", "float32"))),
    }


def _cpu_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def _model(
    target: str, found: launches.Launches, flops: float, dtype: str
) -> dict[str, Any]:
    """Seconds of a step by a model, no measurement: the sum of what can bound it."""
    if target not in targets.RATES:
        return {}
    rates = targets.RATES[target]
    parts = {
        "launches": found.kernels * rates.seconds_per_launch,
        "bytes": found.bytes_accessed / rates.bytes_per_second,
        "flops": flops / rates.flops_per_second[dtype],
    }
    return {
        "modelled_step_seconds": round(sum(parts.values()), 6),
        "modelled_bound": max(parts, key=lambda name: parts[name]),
    }
