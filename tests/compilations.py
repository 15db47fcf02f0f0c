"""What JAX compiles, seen by its own events."""

import contextlib
from collections.abc import Iterator

import jax

_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"


@contextlib.contextmanager
def lowered() -> Iterator[list[str]]:
    """Names of the programs that are lowered meanwhile, such as ``jit(step)``.

    A jitted function has a count of its own (``_cache_size``), but that is one of a
    cache from which JAX drops entries at any time.
    """
    names: list[str] = []

    def listen(event: str, duration: float, **tags: str | int) -> None:
        del duration
        if event == _LOWERED:
            names.append(str(tags["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
