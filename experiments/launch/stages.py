"""Tracing, compilation and loading, said as JAX does them."""

import re
from collections.abc import Callable
from typing import Any

import jax

_TRACE = "/jax/core/compile/jaxpr_trace_duration"
_LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILE = "/jax/core/compile/backend_compile_duration"
_HIT = "/jax/compilation_cache/cache_hits"
_DOING = {_TRACE: "tracing", _LOWER: "lowering", _COMPILE: "compiling or loading"}
#: Of the programs that take long, for people.
_STEP = "step"
_STEPS = ("dispatch", "dispatch_all", "train_step", "train_steps")
_NAMES = {"init": "weights", "new_state": "weights", **dict.fromkeys(_STEPS, _STEP)}
#: Programs that take less than so many seconds of a stage are not told of.
_LEAST = 0.5


class Stages:
    """Tells how long each program took to be traced, and to be compiled or loaded.

    JAX's own events say when a stage begins and ends, of every program. Used as a
    context manager.

    Attributes:
      doing: what is done now, for who interrupts it.
    """

    def __init__(self, tell: Callable[[str], None]):
        """Tell a line of each stage that takes long."""
        self.doing = "preparing"
        self._tell = tell
        self._traced: dict[str, float] = {}
        self._loaded = False

    def __enter__(self) -> "Stages":
        """Listen to JAX."""
        jax.monitoring.register_scalar_listener(self._begins)
        jax.monitoring.register_event_duration_secs_listener(self._ends)
        jax.monitoring.register_event_listener(self._happens)
        return self

    def __exit__(self, *exception: object) -> None:
        jax.monitoring.unregister_scalar_listener(self._begins)
        jax.monitoring.unregister_event_duration_listener(self._ends)
        jax.monitoring.unregister_event_listener(self._happens)

    def _begins(self, event: str, value: float, **about: Any) -> None:
        if event in _DOING:
            self.doing = f"{_DOING[event]} {_name(about)}"
            self._loaded = False
            if event == _TRACE and _name(about) == _STEP:
                self._tell(f"{_STEP}: tracing it")

    def _happens(self, event: str, **about: Any) -> None:
        self._loaded |= event == _HIT

    def _ends(self, event: str, duration_secs: float, **about: Any) -> None:
        if event in _DOING:
            self.doing = "preparing"
        name, seconds = _name(about), duration_secs
        if event == _TRACE:
            self._traced[name] = seconds
        elif event == _LOWER:
            seconds += self._traced.get(name, 0.0)
            self._traced[name] = seconds
            if seconds >= _LEAST:
                self._tell(
                    f"{name}: traced in {seconds:.1f} s; compiling it, or loading it "
                    "if it was compiled before"
                )
        elif event == _COMPILE:
            was_told = self._traced.pop(name, 0.0) >= _LEAST
            if was_told or seconds >= _LEAST:
                how = "loaded from the cache" if self._loaded else "compiled"
                self._tell(f"{name}: {how} in {seconds:.1f} s")


def _name(about: dict[str, Any]) -> str:
    """The name of a program's function, which JAX gives as ``f`` or ``jit(f)``."""
    name = re.sub(r"^p?jit\((.*)\)$", r"\1", str(about.get("fun_name", "a program")))
    return _NAMES.get(name, name)
