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
_WRITTEN = (".pt", ".pth")


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
    return read_with_metadata(path)[0]


def read_with_metadata(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """`read`, and the texts that a ``.safetensors`` file says beside the arrays."""
    path = pathlib.Path(path)
    if path.suffix not in (".safetensors", *_PYTORCH):
        raise InputError(
            f"{path} is not a file of weights: .safetensors, {', '.join(_PYTORCH)}"
        )
    if not path.is_file():
        raise InputError(f"{path} is not there")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        arrays, metadata = _read_safetensors(path)
    else:
        arrays = _torch(path)
    if arrays and all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): a for name, a in arrays.items()}
    return arrays, metadata


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays, whole or not at all.

    Args:
      path: ``.safetensors``; or ``.pt`` or ``.pth`` where PyTorch is installed.
      arrays: ``{name: array}``.
      metadata: texts beside them; a file of PyTorch's keeps none.

    Raises:
      InputError: another suffix, a file of PyTorch's without PyTorch, or a folder
        that cannot be written.
    """
    path = pathlib.Path(path)
    if path.suffix not in (".safetensors", *_WRITTEN):
        raise InputError(
            f"{path} is not a file of weights to write: .safetensors, "
            f"{', '.join(_WRITTEN)}"
        )
    host = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".safetensors":
            safetensors.numpy.save_file(host, temporary, metadata=dict(metadata or {}))
        else:
            torch = _import_torch(path)
            tensors = {name: torch.from_numpy(a.copy()) for name, a in host.items()}
            with temporary.open("wb") as file:
                torch.save(tensors, file)
        os.replace(temporary, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be written: {_first_line(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        return safetensors.numpy.load_file(path), metadata
    except (OSError, safetensors.SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not read: {_first_line(error)}") from None


def _import_torch(path: pathlib.Path) -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path} is a file of PyTorch, which is not installed: install it, or "
            "convert the file to .safetensors"
        ) from None
    return torch


def _torch(path: pathlib.Path) -> dict[str, Any]:
    torch = _import_torch(path)
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
