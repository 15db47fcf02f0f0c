"""Checkpoints: one thin module over Orbax, so that its API stands in one place.

A checkpoint is a folder named by its step. Beside the state it holds what it was saved
as: the name, dtype and shape of every array, a SHA-256 over all their bits, and the
configuration of the run. Orbax writes the folder under another name and moves it at
the end, so that one with its own name is complete; the SHA-256 tells whether it has
stayed so.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from nasjax.base import InputError, RunError, Tree
from nasjax.runtime.quiet import quietly
from nasjax.runtime.workdir import differences

_KEPT = 2
#: What Orbax adds to the name of a folder that it is still writing; here also of one
#: that is being removed.
_UNFINISHED = ".orbax-checkpoint-tmp"
#: For `_quietly`, which is of the whole process: several runs of it may save at once.
_ONE_AT_A_TIME = threading.Lock()


class Stored(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      arrays: by the names of their places in the state; of a key, its data.
      config: of the run.
    """

    arrays: dict[str, np.ndarray]
    config: Mapping[str, Any]


class DamagedError(Exception):
    """A checkpoint that is not what was saved."""


class Checkpoints:
    """The checkpoints of one run, written in the background, the newest two kept.

    A save returns once the state is copied to the host; the file is complete, or
    absent, whatever happens to the process meanwhile. What goes wrong in the
    background is raised by the next call, at the latest by `close`: once that has
    returned, everything asked for is on the disk. As a context manager it closes
    itself, and lets an exception that is under way pass.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None):
        """Open a folder, which need not exist yet, for a run of a configuration."""
        self.folder = folder.absolute()
        self._config = dict(config or {})
        self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: futures.Future[None] | None = None
        self._sound: list[int] = []  # steps saved here, or read and found whole
        self._swept = False

    def save(self, step: int, state: Tree) -> None:
        """Save a state in the background; a step already saved is left alone.

        Raises:
          RunError: the save before has failed.
        """
        self._wait()
        if step in self._sound:
            return
        # Copied: the next dispatch overwrites what it is given.
        arrays = {name: np.array(leaf) for name, leaf in _named(state)}
        self._pending = self._worker.submit(self._write, step, arrays)

    def check(self) -> None:
        """Raise what a save has failed with, without waiting for one under way.

        Raises:
          RunError: the last save has failed.
        """
        if self._pending is not None and self._pending.done():
            self._wait()

    def restore(self, template: Tree) -> Tree | None:
        """The newest state that is whole, or None where there is no checkpoint.

        One that is damaged is passed over with a line on stderr.

        Args:
          template: a state of the same structure, for shapes and dtypes.

        Raises:
          InputError: a checkpoint of another configuration or structure, or none that
            is whole.
        """
        self._wait()
        damaged: list[str] = []
        for step in steps(self.folder):
            try:
                stored = read(self.folder / str(step))
            except DamagedError as error:
                damaged.append(f"checkpoint {self.folder / str(step)} {error}")
                continue
            state = self._fill(template, stored, self.folder / str(step))
            for line in damaged:
                print(f"warning: {line}; going on after step {step}", file=sys.stderr)
            self._sound.append(step)
            return state
        if damaged:
            raise InputError(
                f"{damaged[0]}, and there is none before it that can; remove "
                f"{self.folder} to start from the beginning"
            )
        return None

    def sweep(self) -> None:
        """Remove what a process that was killed has left; for the folder's holder.

        Whoever only reads may meet a save under way.
        """
        if not self._swept:
            for path in self.folder.glob(f"*{_UNFINISHED}*"):
                shutil.rmtree(path, ignore_errors=True)
        self._swept = True

    def close(self) -> None:
        """Wait for the last save.

        Raises:
          RunError: it has failed.
        """
        try:
            self._wait()
        finally:
            self._worker.shutdown()

    def __enter__(self) -> "Checkpoints":
        """Nothing to begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._worker.shutdown()

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a checkpoint, then remove what it supersedes."""
        path = self.folder / str(step)
        about = {
            "sha256": digest(arrays),
            "arrays": {name: [str(a.dtype), a.shape] for name, a in arrays.items()},
            "config": self._config,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.sweep()
            if not _is_whole(path):
                _check_room(self.folder, arrays)
                _save(path, arrays, about)
        except Exception as error:  # Orbax raises what its many layers do
            self._swept = False
            self.sweep()  # it may be what fills the disk
            last = f"that of step {self._sound[-1]} is sound" if self._sound else "none"
            raise RunError(
                f"checkpoint {path} cannot be written ({_reason(error)}); before it, "
                f"{last}; with room on the disk the same command goes on"
            ) from error
        self._sound.append(step)
        # Sound ones before others, which a run that has gone back may have left.
        others = [other for other in steps(self.folder) if other not in self._sound]
        kept = [*self._sound[::-1], *others][:_KEPT]
        for other in set(steps(self.folder)) - set(kept):
            _remove(self.folder / str(other))

    def _fill(self, template: Tree, stored: Stored, path: Path) -> Tree:
        """The template's structure with the stored arrays."""
        if self._config and stored.config:
            found = differences(stored.config, self._config)
            if found:
                raise InputError(
                    f"checkpoint {path} is of another run: {'; '.join(found[:3])}; "
                    "give another --workdir"
                )
        wanted = dict(_named(template))
        for name in sorted({*wanted, *stored.arrays}):
            there, here = map(_kind, (stored.arrays.get(name), wanted.get(name)))
            if there != here:
                raise InputError(
                    f"checkpoint {path} is of another structure: {name} is {there} "
                    f"there and {here} here; give another --workdir"
                )
        leaves, structure = jax.tree.flatten(template)
        arrays = [stored.arrays[name] for name in wanted]
        return jax.tree.unflatten(structure, list(map(_like, leaves, arrays)))


def steps(folder: Path) -> list[int]:
    """Steps of the complete checkpoints in a folder, the newest first."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def read(path: Path) -> Stored:
    """Read one checkpoint and hold it against what was saved.

    Raises:
      DamagedError: it cannot be read, or holds other bits than were saved.
    """
    try:
        with _ONE_AT_A_TIME, quietly():
            found = _checkpointer().restore(
                path.absolute(), args=ocp.args.StandardRestore()
            )
        about = json.loads(found["about"].tobytes())
        # In the order of the state, which decides the sum.
        arrays = {
            name: np.asarray(found["state"][name])
            if math.prod(shape)
            else np.zeros(shape, jnp.dtype(dtype))
            for name, (dtype, shape) in about["arrays"].items()
        }
        config, expected = about["config"], about["sha256"]
    except Exception as error:  # Orbax raises what its many layers do
        raise DamagedError(f"cannot be read ({_reason(error)})") from error
    if digest(arrays) != expected:
        raise DamagedError("cannot be trusted (its bits are not those saved)")
    return Stored(arrays, config)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the names, dtypes, shapes and every bit of arrays, in their order."""
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).view(np.uint8).data)
    return total.hexdigest()


def _check_room(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse to begin what will not fit; a write that fails half-way is a mess.

    Raises:
      OSError: as the write would.
    """
    needed = sum(array.nbytes for array in arrays.values())
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_whole(path: Path) -> bool:
    """Whether a step is saved already; what is there and damaged goes."""
    if not path.exists():
        return False
    try:
        read(path)
    except DamagedError:
        _remove(path)
        return False
    return True


def _remove(path: Path) -> None:
    """Remove a checkpoint; its name goes first, so that it is never seen in part."""
    going = path.with_name(f"{path.name}{_UNFINISHED}")
    with contextlib.suppress(OSError):
        path.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def _checkpointer() -> ocp.Checkpointer:
    # Of several processes one has checkpoints: Orbax is not to wait for the others.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix="checkpoint",
    )
    return ocp.Checkpointer(
        ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        multiprocessing_options=alone,
    )


def _save(path: Path, arrays: Mapping[str, np.ndarray], about: dict[str, Any]) -> None:
    # An item of its own, of JSON, would keep a thread of Orbax waiting for ever where
    # the state cannot be written.
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    # Orbax refuses arrays without elements.
    state = {name: array for name, array in arrays.items() if array.size}
    content = {"state": state, "about": text}
    with _ONE_AT_A_TIME, quietly():
        _checkpointer().save(path, args=ocp.args.StandardSave(content))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _named(state: Tree) -> list[tuple[str, Any]]:
    """Every array by the name of its place; of a key, its data."""
    named = []
    for path, leaf in jax.tree.leaves_with_path(state):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if _is_key(leaf):
            name = f"{name}:{jax.random.key_impl(leaf)}"
            leaf = jax.random.key_data(leaf)
        named.append((name, leaf))
    return named


def _kind(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype}{list(array.shape)}"


def _like(leaf: Any, array: np.ndarray) -> jax.Array:
    if _is_key(leaf):
        return jax.random.wrap_key_data(
            jnp.asarray(array), impl=jax.random.key_impl(leaf)
        )
    return jnp.asarray(array)


def _reason(error: BaseException) -> str:
    """What an error of many lines says, in one; what the system says, alone."""
    text = " ".join(str(error).split()) or type(error).__name__
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text:
            return os.strerror(number)
    return text[:200]
