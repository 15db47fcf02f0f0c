"""Fingerprints of what decides a run: of functions, by their programs, and of data.

A function is known by the program that it traces to, whose every constant is part of
it: a learning rate, a term of a loss. What a network computes is known by its space and
its sizes alone, and the rule of a `jax.custom_vjp` by its name.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

#: Images up to so many bytes are fingerprinted whole, of more some of them.
_WHOLE = 2**28
#: Where and how a program runs, and what its functions are called.
_NO_PART = (
    *("name", "inline", "keep_unused", "donated_invars", "compiler_options_kvs"),
    *("in_shardings", "out_shardings", "in_layouts", "out_layouts"),
    *("ctx_mesh", "sharding", "out_sharding"),
)


def of_program(program: Any) -> str:
    """SHA-256 of what a traced program computes, whatever its parts are called."""
    digest = hashlib.sha256()
    for word in _words(program):
        digest.update(word)
        digest.update(b"\0")
    return digest.hexdigest()


def _words(value: Any) -> Iterable[bytes]:
    """A program, or a parameter of one, as words."""
    if isinstance(value, ClosedJaxpr):
        for const in value.consts:
            yield from _array_words(const)
        yield from _jaxpr_words(value.jaxpr)
    elif isinstance(value, Jaxpr):
        yield from _jaxpr_words(value)
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            yield str(name).encode()
            yield from _words(value[name])
    elif isinstance(value, tuple | list):
        yield f"{len(value)}".encode()
        for one in value:
            yield from _words(one)
    elif isinstance(value, np.ndarray | jax.Array):
        yield from _array_words(value)
    elif callable(value):
        yield getattr(value, "__qualname__", type(value).__qualname__).encode()
    else:
        yield re.sub(r" at 0x[0-9a-f]+", "", repr(value)).encode()


def _jaxpr_words(jaxpr: Jaxpr) -> Iterable[bytes]:
    numbers: dict[Any, int] = {}

    def place(var: Any) -> Iterable[bytes]:
        if isinstance(var, Literal):
            yield from _array_words(var.val)
            return
        number = numbers.setdefault(var, len(numbers))
        yield f"{number}:{var.aval.str_short()}".encode()

    def places(variables: Iterable[Any]) -> Iterable[bytes]:
        for var in variables:
            yield from place(var)

    yield from places((*jaxpr.constvars, *jaxpr.invars))
    for equation in jaxpr.eqns:
        yield equation.primitive.name.encode()
        for name in sorted(equation.params):
            if name not in _NO_PART:
                yield name.encode()
                yield from _words(equation.params[name])
        yield from places((*equation.invars, *equation.outvars))
    yield from places(jaxpr.outvars)


def _array_words(array: Any) -> Iterable[bytes]:
    if hasattr(array, "dtype") and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    host = np.asarray(array)
    yield f"{host.dtype}{host.shape}".encode()
    yield np.ascontiguousarray(host).tobytes()


def of_arrays(arrays: Iterable[np.ndarray]) -> str:
    """First digits of the SHA-256 of arrays, dtypes and shapes included."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()[:16]


def some_rows(images: Any) -> Any:
    """Of ``[N, H, W, Ch]`` all rows, or where they are large some, evenly spaced."""
    step = every(len(images), images)
    return images if step == 1 else images[::step]


def every(number: int, images: Any) -> int:
    """How far apart the rows are that `some_rows` takes."""
    return max(1, -(-number * int(np.prod(images.shape[-3:])) // _WHOLE))
