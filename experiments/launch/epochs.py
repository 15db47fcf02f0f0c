"""A search as it stood after one of its epochs: ``RUN@EPOCH``.

``alphas.npz`` has alpha at the start (epoch 0) and after each epoch, also of a search
that still runs; the method of ``config.json`` derives the genotype of any of them.
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from experiments.launch import build
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.report.workdir import Run
from nasjax.spaces import SPACES
from nasjax.tabular import NASBench201


def named(text: str) -> tuple[Path, int] | None:
    """The folder and the epoch of ``RUN@EPOCH``; None for a text of another form.

    What stands before ``@`` is not looked at, what follows is: a file or a folder whose
    own name has an ``@`` is named by it.

    >>> named("runs/one@25"), named("DARTS_V2")
    ((PosixPath('runs/one'), 25), None)

    Raises:
      InputError: an epoch that is not a number.
    """
    folder, at, epoch = text.rpartition("@")
    if not at or Path(text).exists():
        return None
    if not epoch.isdecimal():
        raise InputError(f"{text}: {epoch!r} is no epoch; it must be RUN@EPOCH")
    return Path(folder), int(epoch)


def genotype_at(folder: Path, epoch: int) -> Genotype:
    """What a search would have ended with after an epoch, by its method's own rule.

    Args:
      folder: workdir of the search, finished or not.
      epoch: epochs done; 0 for the start.

    Raises:
      InputError: no such folder or epoch, or files that cannot be read.
    """
    config = _config(folder)
    alphas = _alphas(folder)
    last = min(map(len, alphas.values())) - 1
    if epoch > last:
        raise InputError(f"{folder} has epochs 0 (the start) to {last}, not {epoch}")
    method = build.method(config)
    space = method.adapt(SPACES[config["supernet"]["space"]]())
    try:
        found = method.derive(space, {name: a[epoch] for name, a in alphas.items()})
    except ValueError as error:
        raise InputError(f"{folder / 'alphas.npz'}: {error}") from None
    names = config["method"]["name"], config["data"]["name"]
    source = f"{', '.join(names)}, seed {config['seed']}, epoch {epoch}"
    return found._replace(source=source)


def as_of(
    run: Run, folder: Path, epoch: int, *, table: NASBench201 | None = None
) -> Run:
    """A run as it was after an epoch: metrics until then, its genotype, look-ups.

    Args:
      run: as it is now.
      folder: its workdir.
      epoch: epochs done.
      table: to look up in; None for no look-ups.

    Raises:
      InputError: as `genotype_at`.
    """
    genotype = genotype_at(folder, epoch)
    looked_up = table.lookups(genotype.arch_str) if table and genotype.arch_str else ()
    return run._replace(
        rows=tuple(row for row in run.rows if row.epoch < epoch),
        genotype=genotype,
        lookups=tuple(looked_up),
    )


def _config(folder: Path) -> dict[str, Any]:
    """Of a search."""
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); RUN@EPOCH names the folder of "
            "a search"
        ) from None
    except ValueError:
        raise InputError(f"{path} is not a complete JSON object") from None
    if not isinstance(found, dict) or not {"method", "supernet"} <= set(found):
        raise InputError(f"{path} is of no search; RUN@EPOCH names the folder of one")
    return found


def _alphas(folder: Path) -> dict[str, np.ndarray]:
    """``{name: [epochs + 1, ...]}``."""
    path = folder / "alphas.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"{path} is not there; the search has not begun") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        told = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({told})") from None
