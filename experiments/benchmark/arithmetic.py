"""Floating-point operations of a traced program.

Of the program as it is written, before a compiler. Convolutions and matrix products
count two for each multiplication, other arithmetic one for each number. A loop counts
its turns, a conditional the mean of its branches, a loop of unknown length one turn.
"""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core

_ELEMENTWISE = {
    *("add", "add_any", "sub", "mul", "div", "max", "min", "neg", "select_n"),
    *("exp", "log", "rsqrt", "sqrt", "square", "tanh", "pow", "integer_pow"),
}


def flops(jaxpr: Any) -> float:
    """Of one run of a jaxpr, open or closed."""
    return sum(map(_of_equation, getattr(jaxpr, "jaxpr", jaxpr).eqns), 0.0)


def _of_equation(equation: Any) -> float:
    name, settings = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = settings["dimension_numbers"]
        sizes = equation.invars[0].aval.shape
        return _twice(equation, math.prod(sizes[axis] for axis in contracted))
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, settings["dimension_numbers"]
        return _twice(equation, math.prod(kernel) // kernel[numbers.rhs_spec[0]])
    if name in _ELEMENTWISE:
        return float(math.prod(equation.outvars[0].aval.shape))
    if name.startswith(("reduce_sum", "reduce_max", "reduce_window")):
        window = math.prod(settings.get("window_dimensions", (1,)))
        sizes = equation.invars[0].aval.shape
        return float(math.prod(sizes) * window)
    parts = [flops(part) for part in _parts(settings)]
    if name == "cond":
        return sum(parts) / len(parts)
    return sum(parts) * (settings["length"] if name == "scan" else 1)


def _twice(equation: Any, number: int) -> float:
    """Two for each of so many products of every number of the result."""
    return 2.0 * number * math.prod(equation.outvars[0].aval.shape)


def _parts(settings: dict[str, Any]) -> Iterator[Any]:
    """The jaxprs that an equation runs; of a function with a gradient the function."""
    for value in settings.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, core.Jaxpr | core.ClosedJaxpr):
                yield one
