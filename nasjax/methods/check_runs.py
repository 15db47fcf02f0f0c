"""Whether what a method relaxes to is an architecture."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nasjax.architecture import Drop, Mixture, Path
from nasjax.methods import shapes
from nasjax.spaces.base import SearchSpace

_RELAXED = "a nasjax.architecture.Mixture or Path for each cell type"


def refusal(name: str, part: str, gives: Any, expected: str) -> ValueError:
    """What a part gives, and what is expected of it."""
    gives = gives if isinstance(gives, str) else shapes.shown(gives)
    return ValueError(f"method {name!r}: {part} gives {gives}; expected is {expected}")


def check_architecture(
    name: str, part: str, found: Any, space: SearchSpace, number: int | None
) -> None:
    """A mixture or a path for each cell type, with a leading K where there is."""
    cells = found if isinstance(found, Mapping) else {}
    right = set(cells) == set(space.cell_types)
    if not right or not all(isinstance(c, Mixture | Path) for c in cells.values()):
        expected = f"{_RELAXED} ({', '.join(space.cell_types)})"
        raise refusal(name, part, found, expected)
    lead = () if number is None else (number,)
    edges = (*lead, space.num_edges)
    wanted: dict[str, tuple[tuple[int, ...], Any]] = {
        "weights": ((*edges, space.num_ops), jnp.floating),
        "operation": (edges, jnp.integer),
        "weight": (edges, jnp.floating),
        "active": (edges, jnp.bool_),
        "offset": (edges, jnp.floating),
    }
    for cell in cells.values():
        for field, value in cell._asdict().items():
            if field == "drop":
                _check_drop(name, part, value, edges)
            elif field == "offset" and value is None:
                continue
            elif not shapes.is_like(value, *wanted[field]):
                shape, kind = wanted[field]
                what = f"{type(cell).__name__}.{field} of {kind.__name__}"
                axes = (
                    ""
                    if number is None
                    else f", the first axis its {number} sub-graphs"
                )
                raise refusal(
                    name,
                    part,
                    f"{type(cell).__name__}({field}={shapes.shown(value)})",
                    f"{what} {list(shape)}{axes}",
                )


def _check_drop(name: str, part: str, drop: Any, edges: tuple[int, ...]) -> None:
    if drop is None:
        return
    right = isinstance(drop, Drop) and shapes.is_like(drop.rate, edges, jnp.floating)
    if not right or not shapes.is_like(drop.key, edges, jax.dtypes.prng_key):
        expected = f"None, or Drop(key, rate), each {list(edges)}"
        raise refusal(name, f"{part}'s drop", drop, expected)
