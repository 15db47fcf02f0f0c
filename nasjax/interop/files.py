"""Named arrays in files: .safetensors, and PyTorch's own where it is installed."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from nasjax.base import InputError

_PYTORCH = (".pt", ".pth", ".bin", ".tar")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The named arrays of a file.

    A PyTorch file is read without running anything it holds
    (``weights_only=True``). A training checkpoint with a ``state_dict`` gives that;
    the prefix ``module.`` of data-parallel training is left out.

    Args:
      path: ``.safetensors``, or ``.pt``, ``.pth``, ``.bin``, ``.tar`` of PyTorch.

    Returns:
      ``{name: array}``, arrays of NumPy, or of PyTorch from its own files.

    Raises:
      InputError: another suffix, no such file, one that is not of its form, or a
        file of PyTorch's without PyTorch.
    """
    path = pathlib.Path(path)
    if path.suffix not in (".safetensors", *_PYTORCH):
        raise InputError(
            f"{path} is not a file of weights: .safetensors, {', '.join(_PYTORCH)}"
        )
    if not path.is_file():
        raise InputError(f"{path} is not there")
    arrays = _read_safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    if arrays and all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): a for name, a in arrays.items()}
    return arrays


def write(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write named arrays as ``.safetensors``, whole or not at all.

    Raises:
      InputError: another suffix, or a folder that cannot be written.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path} is not a .safetensors file; no other is written")
    host = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        safetensors.numpy.save_file(host, temporary)
        os.replace(temporary, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be written: {_first_line(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _read_safetensors(path: pathlib.Path) -> dict[str, Any]:
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not read: {_first_line(error)}") from None


def _torch(path: pathlib.Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path} is a file of PyTorch, which is not installed: install it, or "
            "convert the file to .safetensors"
        ) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # many kinds, of which none is documented
        raise InputError(f"{path} is not read: {_first_line(error)}") from None
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(k, str) for k in found):
        raise InputError(f"{path} holds no named arrays, but a {type(found).__name__}")
    return dict(found)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
