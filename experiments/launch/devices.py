"""What a launch computes on, said before it does, and a backend that does not start.

``python -m experiments.launch.hardware`` prints it.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nasjax.base import InputError

_VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
_NVIDIA = ("cuda", "gpu")
_PLATFORMS = ("cpu", *_NVIDIA, "rocm", "tpu")
#: What JAX says of a backend that does not start.
_NOT_THERE = re.compile(
    r"Unable to initialize backend|Unknown backend|Backend '\w+' failed|"
    r"provides no devices"
)
#: Of some it says nothing, and fails by an assertion in this file.
_SILENT = "xla_bridge.py"


def line() -> str:
    """The platform, the number and the kind of the devices; starts the backend.

    Raises:
      RuntimeError: of JAX, which `not_there` knows: the backend does not start.
    """
    import jax  # here: commands that compute nothing need not wait for it

    for name in _asked().split(","):  # JAX may pass over one of several in silence
        jax.devices(name.strip() or None)
    platform = jax.default_backend()
    told = f"device   {platform}: {_kinds(jax.devices())}"
    if platform == "cpu":
        told += f", {_cores()} cores{_idle_gpu()}"
    return told


def line_of_children() -> str:
    """`line` of a process that is started now; this one takes no device.

    Raises:
      InputError: the backend does not start there.
    """
    if os.environ.get("JAX_PLATFORMS") == "cpu":  # which starts everywhere
        return f"device   cpu: {_cores()} cores{_idle_gpu()}"
    done = subprocess.run(
        [sys.executable, "-m", "experiments.launch.hardware"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["JAX does not start"])[-1]
        raise InputError(last.removeprefix("error: "))
    return done.stdout.strip()


def not_there(error: BaseException) -> InputError | None:
    """What was asked for and what there is, where JAX has not found a backend."""
    if not _is_of_backend(error):
        return None
    given = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    asked = " ".join(f"{name}={value}" for name, value in given.items())
    there = _there()  # before what is not: it lets JAX start any
    names = [name.strip() for name in _asked().split(",")]
    missing = [name for name in names if name and not _starts(name)]
    told = [f"{asked or 'JAX'}: no {' and no '.join(missing) or 'device'} starts here"]
    told += [f"is {name} {near}?" for name in missing for near in _alike(name)]
    told.append(f"there is {', '.join(there) or 'none at all'}")
    if given:
        told.append(f"unset {' and '.join(given)} to take it")
    return InputError("; ".join(told) + _idle_gpu() * bool({*missing} & {*_NVIDIA}))


def _is_of_backend(error: BaseException) -> bool:
    if isinstance(error, AssertionError):
        frames = traceback.extract_tb(error.__traceback__)
        return bool(frames) and Path(frames[-1].filename).name == _SILENT
    return isinstance(error, RuntimeError) and bool(_NOT_THERE.search(str(error)))


def _asked() -> str:
    return next(filter(None, map(os.environ.get, _VARIABLES)), "")


def _there() -> list[str]:
    """The devices of every platform that starts."""
    import jax

    with contextlib.suppress(RuntimeError):  # one of several has started already
        jax.config.update("jax_platforms", "")
    return [
        f"{platform} ({_kinds(jax.devices(platform))})"
        for platform in ("gpu", "tpu", "cpu")
        if _starts(platform)
    ]


def _starts(platform: str) -> bool:
    import jax

    try:
        return bool(jax.devices(platform))
    except (RuntimeError, AssertionError):
        return False


def _alike(name: str) -> list[str]:
    """The platform that a word which is none was to be."""
    if name in _PLATFORMS:
        return []
    return get_close_matches(name.lower(), _PLATFORMS, n=1)


def _cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _kinds(devices: Sequence[Any]) -> str:
    """How many of which kind.

    >>> from types import SimpleNamespace as Device
    >>> _kinds(3 * [Device(device_kind="H200")] + [Device(device_kind="H100")])
    '3 × H200, 1 × H100'
    """
    kinds = [device.device_kind for device in devices]
    return ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))


def _idle_gpu() -> str:
    """What there is to say of an NVIDIA GPU that JAX does not use."""
    if not (Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi")):
        return ""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(map(importlib.util.find_spec, plugins)):
        return (
            "; the NVIDIA GPU here is not used, since this jaxlib is for CPUs alone: "
            'pip install -e ".[cuda12]"'
        )
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return "; the NVIDIA GPU here is not used, since JAX_PLATFORMS=cpu"
    return "; the NVIDIA GPU here does not start under JAX: what does nvidia-smi say?"
