"""Calls that a CPU's compiler shares, so that a launch compiles faster.

What is jitted within a program, such as a depthwise convolution, is called from many
places. XLA writes every call out before it optimises, and optimises all of them; told
to write them out after fusion it optimises one, which takes a sixth to a half off the
time of compilation. Nothing is then fused across the edge of a call: nasjax jits no
part of its engine that would be fused with what is around it. Other backends read
nothing of this.

And matrix products that a GPU's compiler leaves to its library: with Triton's that of
jax 0.10 aborts in the DARTS space (openxla/xla issue 47381; later ones do not).
"""

import os
from collections.abc import Mapping
from importlib import metadata

_VARIABLE = "XLA_FLAGS"
_FLAG = "--xla_backend_extra_options"
_SHARED = "xla_cpu_flatten_after_fusion"
_TRITON = "--xla_gpu_enable_triton_gemm"


def share() -> None:
    """Ask for both in this process, before JAX compiles anything.

    Does nothing where the variable says already which extra options are wanted
    (``XLA_FLAGS=--xla_backend_extra_options=xla_none`` for none), or whether Triton's
    products are.
    """
    environment = with_shared_calls(os.environ)
    os.environ.update(without_triton(environment, metadata.version("jaxlib")))


def without_triton(environment: Mapping[str, str], jaxlib: str) -> dict[str, str]:
    """The environment that leaves products to a GPU's library, unless it says.

    Args:
      environment: variables.
      jaxlib: its version; only 0.10 aborts, a later one may not know the flag.

    >>> without_triton({}, "0.10.2")
    {'XLA_FLAGS': '--xla_gpu_enable_triton_gemm=false'}
    >>> without_triton({"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=true"}, "0.10.2")
    {'XLA_FLAGS': '--xla_gpu_enable_triton_gemm=true'}
    >>> without_triton({}, "0.12.0")
    {}
    """
    flags = environment.get(_VARIABLE, "").split()
    said = any(flag.startswith(_TRITON) for flag in flags)
    if said or not jaxlib.startswith("0.10."):
        return dict(environment)
    return {**environment, _VARIABLE: " ".join([*flags, f"{_TRITON}=false"])}


def with_shared_calls(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment that asks for it, unless it says so or otherwise.

    >>> with_shared_calls({"XLA_FLAGS": "--xla_backend_extra_options=xla_none"})
    {'XLA_FLAGS': '--xla_backend_extra_options=xla_none'}
    >>> with_shared_calls({})
    {'XLA_FLAGS': '--xla_backend_extra_options=xla_cpu_flatten_after_fusion'}
    """
    flags = environment.get(_VARIABLE, "").split()
    if not any(flag.startswith(f"{_FLAG}=") for flag in flags):
        flags.append(f"{_FLAG}={_SHARED}")
    return {**environment, _VARIABLE: " ".join(flags)}
