"""Named arrays in files: .safetensors, and PyTorch's own where it is installed."""

import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from nasjax.base import InputError
from nasjax.interop import names, unsafe

_PYTORCH = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_WRITTEN = (".pt", ".pth")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The named arrays of a file.

    A PyTorch file is read without running anything it holds
    (``weights_only=True``). Of a training checkpoint the arrays are taken that stand
    under ``state_dict``, ``model_state_dict``, ``model``, ``net``, ``network``,
    ``module`` or ``weights``, at any depth; prefixes that wrappers add to every name
    (``module.``, ``model.``, ``net.``, ``network.``, ``_orig_mod.``) are left out, at
    any depth too.

    Args:
      path: ``.safetensors``, or ``.pt``, ``.pth``, ``.bin``, ``.ckpt``, ``.tar`` of
        PyTorch. The content decides which of the two forms it is.

    Returns:
      ``{name: array}``, arrays of NumPy, or of PyTorch from its own files.

    Raises:
      InputError: another suffix, no such file, one that is not of its form or holds
        more than arrays, one without named arrays or with several sets of them, or a
        file of PyTorch's without PyTorch.
    """
    return read_with_metadata(path)[0]


def read_with_metadata(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """`read`, and the texts that a ``.safetensors`` file says beside the arrays."""
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".safetensors", *_PYTORCH):
        raise InputError(
            f"{path} is not a file of weights: .safetensors, {', '.join(_PYTORCH)}"
        )
    if path.is_dir():
        raise InputError(f"{path} is not read: it is a folder")
    if not path.is_file():
        raise InputError(f"{path} is not there")
    try:
        found = unsafe.kind(path)
    except OSError as error:
        raise InputError(f"{path} is not read: {error.strerror}") from None
    by_name = path.suffix.lower() == ".safetensors"
    if found == "safetensors" or (by_name and found != "zip"):
        arrays, metadata = _read_safetensors(path)
    else:
        arrays, metadata = _torch(path), {}
    return names.plain(arrays, path), metadata


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
        raise InputError(
            f"{path} cannot be written: {unsafe.one_line(error)}"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    if not path.stat().st_size:
        raise InputError(f"{path} is not read: it is empty")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: _array(file, name) for name in file.keys()}  # noqa: SIM118
        return arrays, metadata
    except (OSError, safetensors.SafetensorError, KeyError, TypeError) as error:
        with path.open("rb") as file:
            what = unsafe.mistaken(file.read(512))
        told = f"it is {what}" if what else unsafe.one_line(error)
        raise InputError(f"{path} is not read: {told}") from None


def _array(file: Any, name: str) -> np.ndarray:
    """One array; NumPy itself has no bfloat16."""
    if file.get_slice(name).get_dtype() == "BF16":
        raise TypeError(f"{name} is bfloat16; save it as float32")
    return file.get_tensor(name)


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
        told = unsafe.not_pytorch(path)
        if told:
            raise InputError(f"{path} is not read: {told}")
        # Opened here: by its name PyTorch might read it in another way.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of what is told below
            found = torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} is not read: {error.strerror or error}") from None
    except Exception as error:  # many kinds, of which none is documented
        raise InputError(f"{path} is not read: {unsafe.reason(error)}") from None
    return names.state_dict(found, path)
